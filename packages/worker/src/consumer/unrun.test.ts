import { expect, test } from 'vitest';
import { AuthError, ConnectionLostError, silentLogger } from '@lovage/core';
import { decodeTaskHeaders } from '@lovage/core/protocol';
import type { Delivery, Outcome } from '@lovage/core/transport';
import { openBench, until } from '../../test/support/bench.ts';
import { gatedBackend } from '../../test/support/faults.ts';
import { systemClock } from '../clock.ts';
import type { ConsumerSession } from './session.ts';
import { Unrun, type UnrunOptions } from './unrun.ts';

test('a revoked task whose state will never be stored does not come again and again', async () => {
  let tries = 0;
  const refused = () => {
    tries++;
    return Promise.reject(new AuthError('The store refuses the password.'));
  };
  const bench = openBench({ backends: [gatedBackend(refused)], deliveryLimit: null });
  const task = bench.app.task('task', () => 1);
  const worker = await bench.worker();
  worker.revoke(['gone']);
  await task.applyAsync([], { taskId: 'gone' });
  await until(
    () => bench.lines.some(({ message }) => message === 'The state of task task[gone] could not be stored.'),
    'the line',
  );
  await worker.stop('warm');
  expect(await bench.size()).toBe(0);
  expect(bench.lines.filter(({ message }) => message.endsWith('received'))).toHaveLength(1);
  expect(tries).toBe(1);
});

test.each([
  [new ConnectionLostError('The store is away.'), 'requeue'],
  [undefined, 'ack'],
])('a message that was set aside and whose workflow answers %s: %s', async (failure, outcome) => {
  const bench = openBench();
  await bench.app.task('unknown', () => 1).delay();
  const message = await bench.take('celery');
  const settled: Outcome[] = [];
  const session = { isLive: true, settle: (_: Delivery, how: Outcome) => settled.push(how) };
  const unrun = new Unrun({
    app: bench.app,
    nodeName: 'node',
    clock: systemClock,
    logger: silentLogger,
    results: undefined,
    deadLetters: { hasPlaceFor: () => true, put: async () => true },
    workflow: { setAside: async () => failure },
    isAccepting: () => true,
  } as unknown as UnrunOptions);
  await unrun.setAside({
    session: session as unknown as ConsumerSession,
    delivery: { queue: 'celery', message } as Delivery,
    request: decodeTaskHeaders(message, bench.app.serializers),
    reason: 'not-registered',
    error: new Error('no such task'),
  });
  expect(settled).toEqual([outcome]);
});
