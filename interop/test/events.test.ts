import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { Lovage, type ReceivedEvent } from '@lovage/core';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { compareShapes } from './compare.ts';
import { startLovage, startPython, type ControlMeeting } from './control-peers.ts';
import { type Running, until } from './processes.ts';

const { LOVAGE_TEST_REDIS_URL: redis, LOVAGE_TEST_AMQP_URL: amqp, LOVAGE_TEST_PYTHON: python } = process.env;

for (const [name, broker] of [
  ['Redis', redis],
  ['RabbitMQ', amqp],
] as const) {
  describe.skipIf(!broker?.includes('/') || !python?.includes('/') || !redis?.includes('/'))(
    `Events of a Python and of a Lovage worker, ${name}`,
    () => compare({ broker: broker as string, backend: redis as string, python: python as string }),
  );
}

/** Every event of Celery's that both can be brought to send, and what tells one from the other. */
function compare(meeting: ControlMeeting): void {
  const mark = randomUUID().slice(0, 8);
  const nodes = { python: `python@${mark}`, lovage: `lovage@${mark}` };
  const queues = { python: `py-${mark}`, lovage: `ts-${mark}` };
  const seen: ReceivedEvent[] = [];
  const state = { python: [] as string[], lovage: [] as string[] };
  let app: Lovage;
  let workers: Running[];
  let listening: { close(): Promise<void> };

  beforeAll(async () => {
    app = new Lovage('events-test', { broker: meeting.broker, backend: meeting.backend });
    listening = await app.events.listen({ '*': (event) => void seen.push(event) });
    workers = [
      await startPython(meeting, nodes.python, queues.python, ['-E', '-c', '2']),
      await startLovage(meeting, nodes.lovage, queues.lovage, ['-E', '-c', '2']),
    ];
  });

  afterAll(async () => {
    await listening?.close();
    await Promise.all([app?.close(), ...(workers ?? []).map((worker) => worker.stop())]);
  });

  const find = (type: string, hostname: string, uuid?: string): ReceivedEvent | undefined =>
    seen.find(
      (event) => event.type === type && event.hostname === hostname && (uuid === undefined || event['uuid'] === uuid),
    );
  const both = async (type: string, ids?: { readonly python: string; readonly lovage: string }): Promise<void> => {
    const theirs = await until(() => find(type, nodes.python, ids?.python), `${type} of Python`);
    const ours = await until(() => find(type, nodes.lovage, ids?.lovage), `${type} of Lovage`);
    assert.deepEqual(Object.keys(ours), Object.keys(theirs), type);
    assert.deepEqual(compareShapes(theirs, ours).differences, [], `${type}: ${JSON.stringify([theirs, ours])}`);
    assert.equal(ours.utcoffset, theirs.utcoffset);
  };
  const send = async (task: string, args: readonly unknown[], options = {}): Promise<typeof nodes> => ({
    python: (await app.sendTask(task, { args, queue: queues.python, ...options })).id,
    lovage: (await app.sendTask(task, { args, queue: queues.lovage, ...options })).id,
  });

  it('workers come and beat', async () => {
    await both('worker-online');
    await both('worker-heartbeat');
  });

  it('tasks go through their states', async () => {
    const added = await send('jobs.add', [2, 3]);
    for (const type of ['task-received', 'task-started', 'task-succeeded']) await both(type, added);
    for (const side of ['python', 'lovage'] as const) {
      assert.equal(find('task-received', nodes[side], added[side])?.['args'], '(2, 3)');
      assert.equal(find('task-succeeded', nodes[side], added[side])?.['result'], '5');
      state[side] = seen.flatMap(({ type, uuid }) => (uuid === added[side] ? [type] : []));
    }
    assert.deepEqual(state.lovage, state.python);
    await both('task-failed', await send('jobs.fail', ['no luck']));
    await both('task-retried', await send('jobs.retry', []));
    const expired = await send('jobs.add', [1, 1], { expires: new Date(Date.now() - 1000) });
    await both('task-revoked', expired);
    const running = await send('jobs.sleep', [600]);
    await both('task-started', running);
    await app.control.terminate(Object.values(running), { signal: 'SIGTERM' });
    await both('task-revoked', running);
    assert.equal(find('task-revoked', nodes.lovage, running.lovage)?.['terminated'], true);
  });

  it('workers go', async () => {
    await Promise.all(workers.map((worker) => worker.stop()));
    await both('worker-offline');
  });
}
