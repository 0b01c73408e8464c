import { encode } from '@msgpack/msgpack';
import { expect, test } from 'vitest';
import { isPartOf } from './chord-part.ts';

const ID = 'c0ffee00-0000-4000-8000-000000000001';

test.each([
  ['JSON', (part: unknown[]) => JSON.stringify(part)],
  ['JSON of Python', (part: unknown[]) => JSON.stringify(part).replaceAll(',"', ', "')],
  ['YAML', (part: unknown[]) => part.map((each) => `- ${String(each)}\n`).join('')],
  ['MessagePack', (part: unknown[]) => encode(part)],
])('a part says whose it is, in %s', (_, write) => {
  for (const id of [ID, 'order-1', 'x'.repeat(34), 'x'.repeat(45), 'x'.repeat(50)]) {
    expect(isPartOf(write([1, id, 'SUCCESS', 2]), id)).toBe('succeeded');
    expect(isPartOf(write([1, id, 'FAILURE', 2]), id)).toBe('ended');
  }
  for (const [id, other] of [
    ['order-1', '1'],
    ['order.1', '1'],
    ['2', '1'],
    ['1.5', '1'],
    ['order-1', 'order'],
  ] as const) {
    expect(isPartOf(write([1, id, 'SUCCESS', 2]), other)).toBe('no');
  }
});
