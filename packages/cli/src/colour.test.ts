import { afterEach, expect, test, vi } from 'vitest';
import { wantsColour } from './colour.ts';

const VARIABLES = ['NO_COLOR', 'FORCE_COLOR', 'TERM'] as const;

afterEach(() => vi.unstubAllEnvs());

test.each<[boolean, { isTTY: boolean; color?: boolean } & Partial<Record<(typeof VARIABLES)[number], string>>]>([
  [true, { isTTY: true }],
  [false, { isTTY: false }],
  [false, { isTTY: true, color: false }],
  [false, { isTTY: true, NO_COLOR: '1' }],
  [true, { isTTY: true, NO_COLOR: '' }],
  [false, { isTTY: true, TERM: 'dumb' }],
  [true, { isTTY: false, FORCE_COLOR: '1' }],
  [true, { isTTY: false, FORCE_COLOR: '' }],
  [false, { isTTY: true, FORCE_COLOR: '0' }],
  [false, { isTTY: false, FORCE_COLOR: '1', NO_COLOR: '1' }],
  [false, { isTTY: false, FORCE_COLOR: '1', color: false }],
])('%s with %j', (expected, { isTTY, color, ...env }) => {
  for (const name of VARIABLES) vi.stubEnv(name, env[name]);
  expect(wantsColour(color === undefined ? {} : { color }, { isTTY })).toBe(expected);
});
