import { connect } from 'node:net';
import type { HostAndPort } from './endpoint.ts';

/**
 * Resolves when a NATS server at this place begins to speak. Rejects with what the socket said, when `timeoutMs` is over, or
 * with the signal's reason; leaves nothing open.
 *
 * The client opens its socket where nobody can reach it: towards a silent peer it stays open after the client gave up, and
 * an abort cannot end it (NodeTransport.close() of @nats-io/transport-node 3.3 does nothing before it is connected).
 */
export function probe(
  { host, port }: HostAndPort,
  { timeoutMs, speaksFirst, signal }: { timeoutMs: number; speaksFirst: boolean; signal: AbortSignal | undefined },
): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port });
    const end = (error?: Error): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      socket.destroy();
      if (error === undefined) resolve();
      else reject(error);
    };
    const onAbort = (): void => end(signal?.reason as Error);
    const timer = setTimeout(
      () => end(new Error(`the server at ${host}:${port} said nothing within ${Math.round(timeoutMs)} ms`)),
      timeoutMs,
    );
    signal?.addEventListener('abort', onAbort, { once: true });
    socket.once(speaksFirst ? 'data' : 'connect', () => end());
    socket.once('error', end);
    socket.once('close', () => end(new Error(`the server at ${host}:${port} closed the connection`)));
    if (signal?.aborted) onAbort();
  });
}
