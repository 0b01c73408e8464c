import { expect, test } from 'vitest';
import { silentLogger } from '@lovage/core';
import { openBench, until } from '../../test/support/bench.ts';
import { ManualClock } from '../../test/support/manual-clock.ts';
import type { Work } from '../request/work.ts';
import { Claims } from './claim.ts';

const work = (redelivered = false) =>
  ({ id: 'body', delivery: { redelivered, message: { headers: { 'x-lovage-once': 'group' } } } }) as unknown as Work;

function setUp() {
  const { app } = openBench();
  const clock = new ManualClock(1_000_000);
  const open = (nodeName: string) => new Claims({ app, clock, logger: silentLogger, nodeName });
  const note = async (): Promise<unknown> => {
    const found = await (await app.requireBackend('test')).documents?.read('lovage-once:body');
    return found === undefined ? undefined : JSON.parse(found.text);
  };
  return { clock, open, note };
}

test('a claim holds for as long as it is renewed, and two minutes more', async () => {
  const { clock, open, note } = setUp();
  const mine = work();
  const [first, second] = [open('first'), open('second')];
  expect(await first.take(mine)).toBe('ours');
  for (let renewals = 1; renewals <= 6; renewals++) {
    clock.advance(30_000);
    await until(async () => ((await note()) as { at: number }).at === clock.now(), 'the renewal');
    await until(() => clock.timers === 1, 'the next timer');
  }
  expect(await second.take(work())).toBe('held');
  await first.end(mine, true);
  expect(clock.timers).toBe(0);
  clock.advance(200_000);
  expect(await second.take(work())).toBe('done');
});

test('what comes again takes the claim over, and whoever had it writes nothing over it', async () => {
  const { clock, open, note } = setUp();
  const mine = work();
  const [first, second] = [open('first'), open('second')];
  await first.take(mine);
  expect(await second.take(work(true))).toBe('ours');
  await first.end(mine, true);
  expect(await note()).toMatchObject({ holder: expect.stringMatching(/^second /), state: 'held' });
  expect(clock.timers).toBe(1);
});

test('a claim that was given back is free at once', async () => {
  const { open } = setUp();
  const mine = work();
  const first = open('first');
  await first.take(mine);
  await first.end(mine, false);
  expect(await open('second').take(work())).toBe('ours');
});
