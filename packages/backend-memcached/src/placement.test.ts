import { expect, test } from 'vitest';
import { type Distribution, type Hash, placement } from './placement.ts';

const servers = [21_211, 21_212, 21_213].map((port) => ({ host: '127.0.0.1', port, weight: 1 }));
const keys = Array.from({ length: 40 }, (_, index) => `celery-task-meta-${index}`);

/** Where pylibmc 1.6.3 (libmemcached 1.0) put the keys, with these behaviors; python-memcached 1.62 as with `crc`. */
const PLACES: readonly [Distribution, Hash, string][] = [
  ['modula', 'default', '1122221111111002000211111111100000000002'],
  ['modula', 'crc', '0112210002212111011001222110022020022201'],
  ['modula', 'md5', '2121111211002111022010102200111012002011'],
  ['modula', 'fnv1_32', '2012012001102121022112200112201002211002'],
  ['modula', 'fnv1a_32', '0221211021011220011202102102212012120112'],
  ['consistent', 'default', '1120022022210202102212110020202001001222'],
  ['ketama_weighted', 'default', '1212012200102001210222210120002102020020'],
];

test.each(PLACES)('%s with %s: each key lies where Python’s clients look for it', (distribution, hash, places) => {
  const placeOf = placement(servers, distribution, hash);
  expect(keys.map(placeOf).join('')).toBe(places);
});

test('a server of twice the weight keeps about twice as many keys', () => {
  const placeOf = placement(
    servers.map((server, index) => ({ ...server, weight: index === 0 ? 2 : 1 })),
    'ketama_weighted',
    'default',
  );
  const counts = [0, 0, 0];
  for (let index = 0; index < 6000; index++) {
    const server = placeOf(`key-${index}`);
    counts[server] = (counts[server] ?? 0) + 1;
  }
  expect(counts.map((count) => Math.round(count / 750))).toEqual([4, 2, 2]);
});
