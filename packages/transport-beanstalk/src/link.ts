import { connect } from 'node:net';
import { ConnectError, openPipelinedLink, type PipelinedLink } from '@lovage/core/transport';
import type { DriverSettings } from './options.ts';
import { readStats, REPLIES, type Reply } from './replies.ts';

/** One connection to beanstalkd. */
export type BeanstalkLink = PipelinedLink<Reply>;

export interface OpenedLink {
  readonly link: BeanstalkLink;
  /** What the server says of itself. */
  readonly stats: ReadonlyMap<string, string>;
}

/** Opens a link. Rejects with `ConnectError`, or with the signal's reason; leaves nothing open then. */
export async function openLink(settings: DriverSettings, signal?: AbortSignal): Promise<OpenedLink> {
  signal?.throwIfAborted();
  const { host, port, url, connectTimeoutMs, heartbeatMs } = settings;
  return openPipelinedLink(
    {
      socket: connect({ host, port }),
      protocol: REPLIES,
      server: `beanstalkd at ${url}`,
      facts: { url },
      connectTimeoutMs,
      silenceMs: heartbeatMs * 2,
      probe: 'list-tube-used',
      signal,
    },
    async (link) => {
      const { word, body } = await link.command('stats');
      if (body !== undefined) return { link, stats: readStats(body) };
      throw new ConnectError(`What answers at ${url} is no beanstalkd: it said "${word}".`, { facts: { url } });
    },
  );
}
