import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';

/** How pylibmc spreads keys over servers: its behaviors `distribution`, `ketama` and `ketama_weighted`. */
export type Distribution = 'modula' | 'consistent' | 'ketama_weighted';
/** pylibmc's behavior `hash`. With `crc` and `modula` keys lie where python-memcached looks for them. */
export type Hash = keyof typeof HASHES;

export interface PlacedServer {
  readonly host: string;
  readonly port: number;
  readonly weight: number;
}

const DEFAULT_PORT = 11_211;
const POINTS_PER_SERVER = 100;
const WEIGHTED_DIGESTS_PER_SERVER = 40;
const POINTS_PER_DIGEST = 4;

/**
 * Which of the servers keeps a key, as libmemcached 1.0 decides it: every client of a cluster has to agree on it.
 * Source: libmemcached/hosts.cc, update_continuum; libmemcached/hash.cc; libhashkit. python-memcached has the CRC of it.
 */
export function placement(
  servers: readonly PlacedServer[],
  distribution: Distribution,
  hash: Hash,
): (key: string) => number {
  const count = servers.length;
  if (count === 1) return () => 0;
  if (distribution === 'modula') return (key) => HASHES[hash](Buffer.from(key)) % count;
  if (distribution === 'consistent') return onContinuum(continuum(servers, HASHES[hash]), HASHES[hash]);
  return onContinuum(weightedContinuum(servers), HASHES.md5);
}

interface Point {
  readonly at: number;
  readonly server: number;
}

function onContinuum(unsorted: readonly Point[], hash: (key: Buffer) => number): (key: string) => number {
  const points = unsorted.toSorted((a, b) => a.at - b.at);
  return (key) => {
    const wanted = hash(Buffer.from(key));
    let low = 0;
    let high = points.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((points[middle] as Point).at < wanted) low = middle + 1;
      else high = middle;
    }
    return (points[low % points.length] as Point).server;
  };
}

function continuum(servers: readonly PlacedServer[], hash: (key: Buffer) => number): readonly Point[] {
  return servers.flatMap((server, index) =>
    Array.from({ length: POINTS_PER_SERVER }, (_, point) => ({
      at: hash(Buffer.from(`${pointName(server)}-${point}`)),
      server: index,
    })),
  );
}

function weightedContinuum(servers: readonly PlacedServer[]): readonly Point[] {
  const total = servers.reduce((sum, { weight }) => sum + weight, 0);
  return servers.flatMap((server, index) => {
    const digests = Math.floor((server.weight / total) * WEIGHTED_DIGESTS_PER_SERVER * servers.length + 1e-10);
    return Array.from({ length: digests }, (_, point) => {
      const digest = createHash('md5')
        .update(`${pointName(server)}-${point}`)
        .digest();
      return Array.from({ length: POINTS_PER_DIGEST }, (__, part) => ({
        at: digest.readUInt32LE(part * 4),
        server: index,
      }));
    }).flat();
  });
}

function pointName({ host, port }: PlacedServer): string {
  return port === DEFAULT_PORT ? host : `${host}:${port}`;
}

const FNV_PRIME = 16_777_619;
const FNV_START = 2_166_136_261;

const HASHES = {
  default: oneAtATime,
  crc: (key: Buffer) => (crc32(key) >>> 16) & 0x7fff,
  md5: (key: Buffer) => createHash('md5').update(key).digest().readUInt32LE(0),
  fnv1_32: (key: Buffer) => key.reduce((hash, byte) => (Math.imul(hash, FNV_PRIME) ^ byte) >>> 0, FNV_START),
  fnv1a_32: (key: Buffer) => key.reduce((hash, byte) => Math.imul(hash ^ byte, FNV_PRIME) >>> 0, FNV_START),
} as const;

export const HASH_NAMES = Object.keys(HASHES) as Hash[];

/** Bob Jenkins' hash of this name. */
function oneAtATime(key: Buffer): number {
  let value = 0;
  for (const byte of key) {
    value = (value + byte) >>> 0;
    value = (value + (value << 10)) >>> 0;
    value = (value ^ (value >>> 6)) >>> 0;
  }
  value = (value + (value << 3)) >>> 0;
  value = (value ^ (value >>> 11)) >>> 0;
  return (value + (value << 15)) >>> 0;
}
