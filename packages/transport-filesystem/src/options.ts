import { resolve } from 'node:path';
import {
  boolean,
  integer,
  KOMBU_ONLY,
  nonEmptyText,
  oneOf,
  type OptionReader,
  readOptions,
  seconds,
  withoutEffect,
} from '@lovage/core/options';
import { type BrokerUrl, ConfigError, type ConnectOptions } from '@lovage/core/transport';

/**
 * `broker_transport_options` of the filesystem transport, camelCase or snake_case: Kombu's, and `leaseMs` and
 * `synchronous`, ours. Folders that do not exist are made.
 */
export interface FilesystemTransportOptions {
  /** Where messages are read. Default: the folder of the URL, else `data_in`. */
  readonly dataFolderIn?: string;
  /** Where messages are written; for an app that serves itself the same as `dataFolderIn`. Default: the folder of the URL, else `data_out`. */
  readonly dataFolderOut?: string;
  /** Where bindings are kept. Default: `control` in the folder of the URL, else in the working directory. */
  readonly controlFolder?: string;
  /** Keep messages that are done. Default false. */
  readonly storeProcessed?: boolean;
  /** Where they are kept. Default: `processed` in the folder of the URL, else in the working directory. */
  readonly processedFolder?: string;
  /** Milliseconds after which what a silent process held is given to another one; a live one renews it. Default 30000. */
  readonly leaseMs?: number;
  /** Seconds between two looks into the folder, for what the system did not report (network folders). Default 1. */
  readonly pollingInterval?: number;
  /** `full`: a publish that resolved survives a power loss; `normal`: it survives the death of any process. Default `full`. */
  readonly synchronous?: 'full' | 'normal';
}

const READERS = {
  dataFolderIn: nonEmptyText,
  dataFolderOut: nonEmptyText,
  controlFolder: nonEmptyText,
  storeProcessed: boolean,
  processedFolder: nonEmptyText,
  leaseMs: integer(500),
  pollingInterval: seconds(0.01, 3600),
  synchronous: oneOf('full', 'normal'),
  // What other brokers have.
  visibilityTimeout: withoutEffect,
  ...KOMBU_ONLY,
} as const satisfies Record<string, OptionReader<unknown>>;

/** All that decides how the driver behaves; folders are absolute. */
export interface FilesystemSettings {
  readonly folderIn: string;
  readonly folderOut: string;
  readonly controlFolder: string;
  /** undefined: messages that are done are removed. */
  readonly processedFolder: string | undefined;
  readonly leaseMs: number;
  readonly pollMs: number;
  readonly isSynchronous: boolean;
}

/** Throws `ConfigError` for wrong values and unknown names. */
export function readFilesystemOptions(
  url: BrokerUrl,
  { transportOptions = {}, leaseMs = 30_000 }: ConnectOptions,
): FilesystemSettings {
  if (url.host !== '' || url.username !== undefined || url.port !== undefined) {
    throw new ConfigError(
      `The URL "${String(url)}" names a host. Expected "filesystem://" with folders in the transport options, or "filesystem:///folder" with three slashes for an absolute folder.`,
    );
  }
  const options = readOptions({ ...url.query, ...transportOptions }, READERS, 'The filesystem transport');
  const base = url.path === '' ? undefined : `/${url.path}`;
  const folder = (given: string | undefined, name: string): string => resolve(given ?? resolve(base ?? '.', name));
  return {
    folderIn: resolve(options.dataFolderIn ?? base ?? 'data_in'),
    folderOut: resolve(options.dataFolderOut ?? base ?? 'data_out'),
    controlFolder: folder(options.controlFolder, 'control'),
    processedFolder: options.storeProcessed === true ? folder(options.processedFolder, 'processed') : undefined,
    leaseMs: options.leaseMs ?? leaseMs,
    pollMs: options.pollingInterval ?? 1000,
    isSynchronous: options.synchronous !== 'normal',
  };
}
