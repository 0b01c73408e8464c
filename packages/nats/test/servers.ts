import { type ServerProcess, startServerProcess } from '@lovage/conformance';

const PROGRAM = process.env['LOVAGE_TEST_NATS_SERVER'];

/** False where tests that need a server of their own have to be skipped. */
export const hasNatsServer: boolean = PROGRAM !== undefined;

/** Starts a server of a test's own with this configuration; `{dir}` in it is its folder. */
export function startNats(
  config = '',
  {
    jetstream = true,
    domain,
    port,
    files = {},
  }: {
    jetstream?: boolean;
    domain?: string;
    port?: number;
    files?: Readonly<Record<string, Uint8Array | string>>;
  } = {},
): Promise<ServerProcess> {
  return startServerProcess(PROGRAM ?? 'nats-server', {
    ...(port === undefined ? {} : { port }),
    args: ({ dir }) => ['-c', `${dir}/nats.conf`],
    files: (at) => ({
      ...files,
      'nats.conf': [
        `listen: "127.0.0.1:${at.port}"`,
        jetstream
          ? `jetstream { store_dir: "${at.dir}/jetstream"${domain === undefined ? '' : `, domain: ${domain}`} }`
          : '',
        config.replaceAll('{dir}', at.dir),
      ].join('\n'),
    }),
    isUpWhenIt: 'greets',
    stopSignal: 'SIGTERM',
  });
}
