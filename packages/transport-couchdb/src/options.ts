import { integer, KOMBU_ONLY, type OptionReader, readOptions, withoutEffect } from '@lovage/core/options';
import type { ConnectOptions } from '@lovage/core/transport';

/** The options of the CouchDB transport, in `broker_transport_options`, camelCase or snake_case. */
export interface CouchTransportOptions {
  /** Milliseconds after which the messages of a silent consumer are given to somebody else. Default 30000. */
  readonly leaseMs?: number;
  /**
   * Bytes of the largest document, CouchDB's `max_document_size`. Default: as the server says, where the user may ask;
   * else 8000000, CouchDB's own default.
   */
  readonly maxDocumentSize?: number;
}

const READERS = {
  leaseMs: integer(100),
  maxDocumentSize: integer(1000),
  // Nothing is polled.
  pollingInterval: withoutEffect,
  ...KOMBU_ONLY,
} as const satisfies Record<string, OptionReader<unknown>>;

export interface DriverSettings {
  readonly leaseMs: number;
  /** undefined: to be asked for. */
  readonly maxDocumentSize: number | undefined;
}

/** Throws `ConfigError` for wrong values and unknown names. */
export function readTransportOptions({ transportOptions = {}, leaseMs }: ConnectOptions): DriverSettings {
  const options = readOptions(transportOptions, READERS, 'The CouchDB transport');
  return { leaseMs: options.leaseMs ?? leaseMs ?? 30_000, maxDocumentSize: options.maxDocumentSize };
}
