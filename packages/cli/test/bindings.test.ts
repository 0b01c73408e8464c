import { Lovage } from '@lovage/core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { endAll, type Ended, type Running, startCommand } from './support/command.ts';
import { projectFolder } from './support/folder.ts';

const broker = process.env.LOVAGE_TEST_AMQP_MANAGEMENT_URL;
const api = process.env.LOVAGE_TEST_AMQP_API_URL;

/** What RabbitMQ tells of its bindings, by the HTTP API of its management plugin. */
describe.skipIf(broker === undefined || api === undefined)('bindings of RabbitMQ', () => {
  const folder = projectFolder({}, ['core', 'transport-amqp']);
  const started: Running[] = [];
  const base = new URL(api ?? 'http://none');
  const { host } = base;

  const run = (...args: string[]): Promise<Ended> => {
    const running = startCommand(folder.path, ['-b', broker as string, ...args]);
    started.push(running);
    return running.ended;
  };

  beforeAll(async () => {
    const app = new Lovage('bindings', { broker: broker as string, resolveFrom: folder.path });
    const link = app.connectBroker('write');
    const connection = await link.connection({ timeoutMs: 30_000 });
    await connection.declare({
      exchanges: [{ name: 'videos', type: 'topic' }],
      queues: [{ name: 'large' }],
      bindings: [{ queue: 'large', exchange: 'videos', routingKey: 'large.#' }],
    });
    await link.close();
    await app.close();
  }, 60_000);

  afterAll(async () => {
    await endAll(started);
    folder.remove();
  });

  test('are listed, those of others too, with the types of their exchanges', async () => {
    const table = await run('list', 'bindings', '--api', api as string);
    expect(table).toEqual({
      code: 0,
      out: 'Queue   Exchange  Routing Key\ncelery  celery    celery\nlarge   videos    large.#\n',
      err: '',
    });
    // The broker's user has access there, by default; the path of the API itself is understood.
    const json = await run('list', 'bindings', '--json', '--api', `http://${host}/api/`);
    expect(JSON.parse(json.out)).toEqual({
      from: 'broker',
      bindings: [
        { queue: 'celery', exchange: 'celery', routing_key: 'celery' },
        { queue: 'large', exchange: 'videos', routing_key: 'large.#' },
      ],
    });
    const graph = await run('graph', 'bindings', '--api', api as string);
    expect(graph.out).toContain('label="videos (topic)"');
  }, 60_000);

  test('that cannot be asked for: a wrong user, nobody there, something else', async () => {
    const [user, nobody, other] = await Promise.all([
      run('list', 'bindings', '--api', `http://guest:hush@${host}`),
      run('list', 'bindings', '--api', 'http://127.0.0.1:1'),
      run('list', 'bindings', '--api', `http://${host}/nowhere`),
    ]);
    expect(user).toMatchObject({
      code: 69,
      out: '',
      err: expect.stringMatching(/ refused the user "guest"\. Expected/),
    });
    expect(user.err).not.toContain('hush');
    expect(nobody).toMatchObject({ code: 69, err: expect.stringContaining('did not answer at http://127.0.0.1:1.') });
    expect(other).toMatchObject({ code: 69, err: expect.stringContaining("is not RabbitMQ's management plugin") });
  }, 60_000);
});
