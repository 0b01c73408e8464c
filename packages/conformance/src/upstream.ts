import { BrokerUrl } from '@lovage/core/transport';
import { type FaultyLink, openFaultyLink } from './faulty-link.ts';
import { SkipTest } from './suite.ts';

/** Where the server of a kit is, and how to reach it by another way. */
export interface UpstreamOptions {
  /** The port where the URL names none. */
  readonly defaultPort?: number;
  /** What a faulty link leads to; default host and port of the URL. */
  readonly upstream?: { readonly host: string; readonly port: number };
  /** The same URL through a link that listens on 127.0.0.1; default: host and port are replaced. */
  readonly reroute?: (url: string, port: number) => string;
}

/** A proxy before the server; skips the test where the server is not reached over TCP. */
export async function openLinkTo(url: string, options: UpstreamOptions): Promise<FaultyLink> {
  const { host, port = options.defaultPort } = new BrokerUrl(url);
  const upstream = options.upstream ?? { host, port };
  if (upstream.host === '' || upstream.host.includes(',') || upstream.port === undefined) {
    throw new SkipTest(
      'the URL names no host and port to put a faulty link before; pass "upstream" and "reroute" if there is one',
    );
  }
  return openFaultyLink({ host: upstream.host, port: upstream.port });
}

/** The URL through the link. */
export function urlThrough(
  url: string,
  link: FaultyLink | undefined,
  { reroute = replaceHost }: UpstreamOptions,
): string {
  return link === undefined ? url : reroute(url, link.port);
}

function replaceHost(url: string, port: number): string {
  return url.replace(/^([^:]+:\/\/(?:[^/?#]*@)?)[^/?#]*/, (_, before: string) => `${before}127.0.0.1:${port}`);
}
