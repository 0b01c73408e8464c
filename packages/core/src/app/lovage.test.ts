import { describe, expect, test } from 'vitest';
import { openApp, storeState, takeBroadcast, takeTask } from '../../test/support/app-bench.ts';
import type { Backend } from '../backend/contract.ts';
import { isLovageApp, Lovage } from '../index.ts';
import { memoryBackend, memoryTransport } from '../memory/index.ts';

describe('settings', () => {
  test('are those of the constructor, then of configFrom, and fixed once they are read', () => {
    const app = new Lovage('a', { broker: 'memory://one', taskTimeLimit: 5 });
    app.configFrom({ task_time_limit: 9 });
    expect(app.settings).toMatchObject({ brokerUrl: 'memory://one', taskTimeLimit: 9 });
    expect(() => app.configFrom({})).toThrow(/too late/);
  });

  test('a wrong one is named with the nearest right one', () => {
    expect(() => new Lovage('a', { taskSerialiser: 'json' } as never).settings).toThrow(
      /taskSerialiser.*taskSerializer/,
    );
    expect(() => new Lovage('')).toThrow(/needs a name/);
  });
});

test('bodies above maxMessageBytes are not decoded', () => {
  const { serializers } = new Lovage('a', { maxMessageBytes: 100 });
  expect(serializers.limits).toMatchObject({ maxBodyBytes: 100, maxDecompressedBytes: 100 });
});

test('an app is known as one, other things are not', () => {
  expect(isLovageApp(new Lovage('a'))).toBe(true);
  for (const value of [undefined, null, {}, 'app', () => 1]) expect(isLovageApp(value)).toBe(false);
});

describe('close', () => {
  test('ends waits, and using the app afterwards is ClosedError', async () => {
    const app = openApp();
    const wait = app.asyncResult('a').get();
    const ended = expect(wait).rejects.toMatchObject({ code: 'ERR_CLOSED' });
    await app.resultBackend();
    await app.close();
    await ended;
    await app.close();
    for (const call of [
      () => app.sendTask('t'),
      () => app.asyncResult('b').get(),
      () => app.asyncResult('b').state(),
    ]) {
      await expect(call()).rejects.toMatchObject({ code: 'ERR_CLOSED' });
    }
    expect(() => app.connectBroker('read')).toThrow(expect.objectContaining({ code: 'ERR_CLOSED' }));
  });

  test('a wait that began before the store was open ends too', async () => {
    let opened!: () => void;
    const gate = new Promise<void>((resolve) => {
      opened = resolve;
    });
    const slow: Backend = {
      schemes: ['memory'],
      open: async (...call) => {
        await gate;
        return memoryBackend.open(...call);
      },
    };
    const app = openApp({ backends: [slow] });
    const wait = expect(app.asyncResult('a').get()).rejects.toMatchObject({ code: 'ERR_CLOSED' });
    const closing = app.close();
    opened();
    await closing;
    await wait;
  });

  test('first waits for what others close with it, and takes their errors', async () => {
    const errors: string[] = [];
    const logger = { debug() {}, info() {}, warn() {}, error: (_: unknown, message: string) => errors.push(message) };
    const app = openApp({ logger });
    const seen: string[] = [];
    app.onClose(async () => {
      await app.sendTask('t');
      seen.push('sent');
    });
    app.onClose(() => {
      throw new Error('no');
    });
    await app.close();
    expect(seen).toEqual(['sent']);
    expect(errors).toEqual(['What was to be done before the app "test" closes failed.']);
  });

  test('every close resolves when it is closed, not before', async () => {
    let isClosed = false;
    const slow: Backend = {
      schemes: ['memory'],
      open: async (...call) => {
        const backend = await memoryBackend.open(...call);
        const close = backend.close.bind(backend);
        backend.close = async () => {
          await new Promise((resolve) => setImmediate(resolve));
          await close();
          isClosed = true;
        };
        return backend;
      },
    };
    const app = openApp({ backends: [slow] });
    await app.resultBackend();
    void app.close();
    await app.close();
    expect(isClosed).toBe(true);
  });

  test('closes the store while the connection still lives: `rpc://` removes its reply queue over it', async () => {
    let isLive: boolean | undefined;
    const overTheBroker: Backend = {
      schemes: ['memory'],
      open: async (...call) => {
        const backend = await memoryBackend.open(...call);
        const close = backend.close.bind(backend);
        backend.close = async () => {
          // A turn of the event loop, as any use of the connection takes.
          await new Promise((resolve) => setImmediate(resolve));
          isLive = app.producerConnection().live !== undefined;
          await close();
        };
        return backend;
      },
    };
    const app = openApp({ backends: [overTheBroker] });
    await app.resultBackend();
    await app.producerConnection().connection();
    await app.close();
    expect(isLive).toBe(true);
  });

  test('an app that was never used closes', async () => {
    await new Lovage('idle', { broker: 'amqp://localhost:1' }).close();
  });
});

test('a store that could not be opened is opened by the next call', async () => {
  let tries = 0;
  const flaky: Backend = {
    schemes: ['memory'],
    open: (...call) => (++tries === 1 ? Promise.reject(new Error('down')) : memoryBackend.open(...call)),
  };
  const app = openApp({ backends: [flaky] });
  await expect(app.asyncResult('a').state()).rejects.toThrow('down');
  expect(await app.asyncResult('a').state()).toBe('PENDING');
});

test('members of a store are named by its scheme, once', async () => {
  let members: readonly string[] = [];
  const cluster: Backend = {
    schemes: ['cache+memcached'],
    open: async (url, options) => {
      members = [url, ...url.members].map((member) => `${member.scheme} ${member.host} ${member.port}`);
      return memoryBackend.open(url, options);
    },
  };
  const app = openApp({ backends: [cluster], backend: 'cache+memcached://a:1;b:2;cache+memcached://c:3/' });
  await app.resultBackend();
  expect(members).toEqual(['cache+memcached a 1', 'cache+memcached b 2', 'cache+memcached c 3']);
});

test('two apps of one process share nothing', async () => {
  const [one, two] = [openApp(), openApp()];
  one.task('same.name', () => 1);
  two.task('same.name', () => 2);
  expect(one.oid).not.toBe(two.oid);
  const { id } = await one.sendTask('same.name');
  await two.sendTask('other', { taskId: id });
  expect((await takeTask(one.url)).headers.task).toBe('same.name');
  expect((await takeTask(two.url)).headers.task).toBe('other');
  await storeState(one, id, 'SUCCESS', 1);
  expect(await two.asyncResult(id).state()).toBe('PENDING');
  await one.close();
  expect(await two.asyncResult(id).state()).toBe('PENDING');
});

test('two apps on one broker and store answer each other', async () => {
  const server = openApp();
  const client = openApp({ broker: server.url, backend: server.url, transports: [memoryTransport] });
  const result = await client.sendTask<number>('t');
  const wait = result.get({ timeout: 2 });
  await storeState(server, (await takeTask(server.url)).headers.id as string, 'SUCCESS', 5);
  expect(await wait).toBe(5);
});

test('revoke reaches the workers that listen, as Celery sends it', async () => {
  const app = openApp();
  const next = await takeBroadcast(app.url, 'celery.pidbox');
  await app.revoke(['a', 'b'], { terminate: true, signal: 'SIGKILL' });
  const message = await next();
  expect(message).toMatchObject({
    method: 'revoke',
    arguments: { task_id: ['a', 'b'], terminate: true, signal: 'SIGKILL' },
    destination: null,
  });
});
