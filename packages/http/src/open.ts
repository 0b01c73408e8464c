import { anySignal, ConnectError, isLovageError } from '@lovage/core/transport';
import { type HttpEndpoint, HttpLink, type HttpLinkOptions } from './link.ts';

export interface HttpOpenOptions extends HttpLinkOptions {
  /** For opening as a whole, the greeting included. Default 4000. */
  readonly connectTimeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Opens a link; resolves with what `greet` makes of it, which proves that the right service is there and does what has to
 * be done first. Its signal is for its requests.
 *
 * Rejects with `ConnectError` where the service does not answer in time, is too busy or breaks off: one that is still
 * starting cannot be reached yet. Rejects with the signal's reason, or else with what `greet` rejects with. Nothing is
 * left open then.
 */
export async function openHttpLink<Opened>(
  endpoint: HttpEndpoint,
  { signal, ...options }: HttpOpenOptions,
  greet: (link: HttpLink, signal: AbortSignal) => Promise<Opened>,
): Promise<Opened> {
  signal?.throwIfAborted();
  const { service, url } = endpoint;
  const { connectTimeoutMs = 4000 } = options;
  const link = new HttpLink(endpoint, options);
  const late = new AbortController();
  const timer = setTimeout(
    () =>
      late.abort(
        new ConnectError(`${service} at ${url} did not answer within ${connectTimeoutMs} ms.`, { facts: { url } }),
      ),
    connectTimeoutMs,
  );
  const end = anySignal([late.signal, signal]);
  try {
    const opened = await greet(link, end.signal);
    end.signal.throwIfAborted();
    return opened;
  } catch (error) {
    link.close();
    if (signal?.aborted) throw signal.reason;
    if (isLovageError(error, 'ERR_BLOCKED') || isLovageError(error, 'ERR_CONNECTION_LOST')) {
      throw new ConnectError(error.message, { cause: error, facts: { url } });
    }
    throw error;
  } finally {
    clearTimeout(timer);
    end.release();
  }
}
