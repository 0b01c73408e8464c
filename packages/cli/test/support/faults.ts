import type { VerbCase } from './verbs.ts';

/** Ends by itself: the broker of `-b` is not there, or nobody has installed what speaks with it. */
export function brokerFaults(...args: string[]): readonly VerbCase[] {
  return [
    {
      title: 'broker down',
      args: ['-b', 'redis://127.0.0.1:9', ...args],
      env: { LOVAGE_PUBLISH_TIMEOUT_SECONDS: '0.2' },
      code: 69,
      out: '',
      err: /^Error: There was no connection to the broker .*127\.0\.0\.1:9/,
    },
    missingTransport(...args),
  ];
}

/** Nobody has installed what speaks with the broker. */
export function missingTransport(...args: string[]): VerbCase {
  return {
    title: 'package missing',
    args: ['-b', 'nats://localhost', ...args],
    code: 78,
    out: '',
    err: /^Error: No transport handles "nats:\/\/"\. Run "npm install @lovage\/transport-nats"/,
  };
}

/** Not the app that was meant. */
export function unknownApp(...args: string[]): VerbCase {
  return { args: ['-A', './nowhere', ...args], code: 78, out: '', err: /^Error: No module "\.\/nowhere" was found/ };
}
