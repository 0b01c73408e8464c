import { expect, test } from 'vitest';
import { silentLogger } from '@lovage/core';
import { openBench, until } from '../../test/support/bench.ts';
import { ManualClock } from '../../test/support/manual-clock.ts';
import type { Work } from '../request/work.ts';
import { Claims } from './claim.ts';

const work = (redelivered = false, headers: Readonly<Record<string, unknown>> = {}) =>
  ({
    id: 'body',
    delivery: { redelivered, message: { headers: { 'x-lovage-once': 'group', ...headers } } },
  }) as unknown as Work;

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

test('what a broker has only delayed is not what comes again; what was refused and taken back is', async () => {
  const { open } = setUp();
  await open('first').take(work());
  // As RabbitMQ writes them.
  const death = (queue: string, reason: string) => ({ count: 1, exchange: 'x', queue, reason, 'routing-keys': ['k'] });
  const deaths = [death('celery_delayed_0', 'expired'), death('celery_delayed_2', 'expired')];
  const second = open('second');
  expect(await second.take(work(false, { 'x-death': deaths }))).toBe('held');
  expect(await second.take(work(false, { 'x-death': [...deaths, death('celery', 'rejected')] }))).toBe('ours');
  expect(await open('third').take(work(false, { 'x-death': 'something else' }))).toBe('ours');
  expect(await open('fourth').take(work(false, { 'x-lovage-reason': 'rejected' }))).toBe('ours');
});

test('whoever takes over from a dead one is told to look whether it has ended before', async () => {
  const { clock, open } = setUp();
  await open('first').take(work());
  const second = open('second');
  expect(await second.take(work())).toBe('held');
  clock.jump(121_000);
  expect(await second.take(work())).toBe('inherited');
});

test('a claim that was given back is free at once', async () => {
  const { open } = setUp();
  const mine = work();
  const first = open('first');
  await first.take(mine);
  await first.end(mine, false);
  expect(await open('second').take(work())).toBe('ours');
});
