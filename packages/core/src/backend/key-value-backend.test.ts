import { afterEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { ClosedError, ConnectionLostError, DecodeError, EncodeError, MessageTooLargeError } from '../errors.ts';
import { silentLogger } from '../internal/log.ts';
import { memoryBackend } from '../memory/memory-backend.ts';
import type { TaskMeta } from '../protocol/task-meta.ts';
import { BackendUrl } from '../transport/url.ts';
import type { Backend, BackendOptions, ResultBackend, ResultCodec } from './contract.ts';
import { keyValueBackend } from './key-value-backend.ts';
import type { KeyValueStore, KeyValueWrite, StoredValue } from './key-value-store.ts';

const codec: ResultCodec = {
  contentType: 'application/json',
  contentEncoding: 'utf-8',
  encode: (value) => {
    if (JSON.stringify(value).includes('unwritable')) throw new EncodeError('unwritable');
    return JSON.stringify(value);
  },
  decode: (data) => {
    try {
      return JSON.parse(String(data)) as unknown;
    } catch (cause) {
      throw new DecodeError('not JSON', { cause });
    }
  },
};

let serial = 0;
const open: ResultBackend[] = [];

afterEach(async () => {
  await Promise.all(open.splice(0).map((backend) => backend.close()));
});

async function openBackend(
  backend: Backend = memoryBackend,
  more: Partial<BackendOptions> = {},
  name?: string,
): Promise<ResultBackend> {
  const opened = await backend.open(new BackendUrl(`memory://${name ?? `results-${++serial}`}`), {
    expiresSeconds: 60,
    settings: {},
    codec,
    oid: 'oid',
    brokerConnection: () => Promise.reject(new Error('not needed')),
    logger: silentLogger,
    ...more,
  });
  open.push(opened);
  return opened;
}

function meta(task_id: string, status: string, result: unknown = null): TaskMeta {
  return { status, result, traceback: null, children: [], date_done: null, task_id };
}

const write = (...args: Parameters<typeof meta>) => [{ meta: meta(...args) }];

/** A store that the test looks into and breaks. */
class TestStore implements KeyValueStore {
  static kept = new Map<string, StoredValue>();
  static opened: TestStore[] = [];
  readonly autoExpires = false;
  readonly lost: Promise<never>;
  lose!: (error: Error) => void;
  batches: (readonly KeyValueWrite[])[] = [];
  watched: string[][] = [];
  unwatched: string[][] = [];
  isClosed = false;
  notify: ((key: string, value: StoredValue) => void) | undefined;
  readonly feed = {
    watch: async (keys: readonly string[], listener: (key: string, value: StoredValue) => void) => {
      this.watched.push([...keys]);
      this.notify = listener;
    },
    unwatch: (keys: readonly string[]) => void this.unwatched.push([...keys]),
  };

  constructor() {
    this.lost = new Promise((_, reject) => {
      this.lose = reject;
    });
    this.lost.catch(() => {});
    TestStore.opened.push(this);
  }

  async get(keys: readonly string[]) {
    return keys.map((key) => TestStore.kept.get(key));
  }

  async set(writes: readonly KeyValueWrite[]): Promise<readonly (Error | undefined)[]> {
    this.batches.push(writes);
    return writes.map(({ key, value }) => {
      if (String(value).includes('too large')) return new MessageTooLargeError('too large');
      TestStore.kept.set(key, value);
      return undefined;
    });
  }

  async delete(keys: readonly string[]) {
    for (const key of keys) TestStore.kept.delete(key);
  }

  async close() {
    this.isClosed = true;
  }
}

function testBackend(create: () => TestStore = () => new TestStore()): Backend {
  TestStore.kept = new Map();
  TestStore.opened = [];
  return keyValueBackend({ schemes: ['memory'], open: async () => create() });
}

const latest = (): TestStore => TestStore.opened.at(-1) as TestStore;

describe('layout', () => {
  test('keys, order of the meta, time to live and guard', async () => {
    const backend = await openBackend(testBackend());
    const { status, ...rest } = meta('1', 'SUCCESS', 4);
    await backend.store([{ meta: { ...rest, status, group_id: 'g' } }]);
    const [written] = latest().batches[0] ?? [];
    expect(written).toMatchObject({ key: 'celery-task-meta-1', ttlSeconds: 60 });
    expect(written?.value).toBe(
      '{"status":"SUCCESS","result":4,"traceback":null,"children":[],"date_done":null,"group_id":"g","task_id":"1"}',
    );
    expect(written?.guard?.marks).toContain('"status":"SUCCESS"');
    expect(written?.guard?.isSuccess(Buffer.from(written.value as string))).toBe(true);
    expect(written?.guard?.isSuccess('{"status":"FAILURE"}')).toBe(false);
    expect(written?.guard?.isSuccess('rubbish')).toBe(false);
    expect(written?.at).toBeUndefined();
    await backend.saveGroup('g', [['g', null], [[['1', null], null]]]);
    expect(TestStore.kept.get('celery-taskset-meta-g')).toBe('{"result":[["g",null],[[["1",null],null]]]}');
    expect(latest().batches[1]?.[0]?.guard).toBeUndefined();
    expect(backend.capabilities).toEqual({ notifies: true, shared: true, autoExpires: false });
  });

  test.each([
    ['app', 'app_celery-task-meta-1'],
    ['app:', 'app:celery-task-meta-1'],
    ['app-', 'app-celery-task-meta-1'],
    ['app.', 'app.celery-task-meta-1'],
    ['app_', 'app_celery-task-meta-1'],
    ['', 'celery-task-meta-1'],
  ])('global_keyprefix %j', async (global_keyprefix, key) => {
    const backend = await openBackend(testBackend(), { transportOptions: { global_keyprefix } });
    await backend.store(write('1', 'STARTED'));
    expect([...TestStore.kept.keys()]).toEqual([key]);
    const seen: TaskMeta[] = [];
    await backend.subscribe(['1'], (stored) => seen.push(stored));
    latest().notify?.(key, codec.encode(meta('1', 'SUCCESS', 1)));
    expect(seen).toMatchObject([{ status: 'SUCCESS', task_id: '1' }]);
  });

  test.each([
    [undefined, undefined],
    [0, undefined],
    [0.5, 1],
    [90.9, 90],
  ])('results that expire after %j seconds live %j', async (expiresSeconds, ttlSeconds) => {
    const backend = await openBackend(testBackend(), { expiresSeconds });
    await backend.store(write('1', 'STARTED'));
    expect(latest().batches[0]?.[0]?.ttlSeconds).toBe(ttlSeconds);
  });
});

describe('storing and loading', () => {
  test('a SUCCESS stays, everything else is replaced', async () => {
    const backend = await openBackend();
    for (const status of [
      'STARTED',
      'RETRY',
      'FAILURE',
      'PROGRESS',
      'SUCCESS',
      'FAILURE',
      'REVOKED',
      'STARTED',
      'SUCCESS',
    ]) {
      await backend.store(write('1', status, status === 'SUCCESS' ? 'first' : null));
    }
    await backend.store(write('1', 'SUCCESS', 'second'));
    expect(await backend.load(['1', 'none', '1'])).toMatchObject([
      { status: 'SUCCESS', result: 'first' },
      undefined,
      { task_id: '1' },
    ]);
    expect(await backend.load([])).toEqual([]);
    await backend.forget(['1', 'none']);
    expect(await backend.load(['1'])).toEqual([undefined]);
  });

  test('writes of a turn go together; one that fails does not hurt the others', async () => {
    const backend = await openBackend(testBackend());
    const results = await Promise.allSettled([
      backend.store([...write('1', 'SUCCESS'), ...write('2', 'SUCCESS')]),
      backend.store([...write('3', 'SUCCESS', 'unwritable'), ...write('4', 'SUCCESS')]),
      backend.store([...write('5', 'SUCCESS', 'too large'), ...write('6', 'SUCCESS')]),
      backend.store([]),
    ]);
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected', 'fulfilled']);
    expect(results[1]).toMatchObject({ reason: { code: 'ERR_ENCODE' } });
    expect(results[2]).toMatchObject({ reason: { code: 'ERR_TOO_LARGE' } });
    expect(latest().batches.map((batch) => batch.length)).toEqual([5]);
    expect([...TestStore.kept.keys()].map((key) => key.at(-1))).toEqual(['1', '2', '4', '6']);
  });

  test('what cannot be read is a failure that says why, and holds nobody up', async () => {
    const backend = await openBackend(testBackend());
    TestStore.kept.set('celery-task-meta-1', '[]');
    TestStore.kept.set('celery-task-meta-2', '{"status":"SUCCESS","result":1}');
    TestStore.kept.set('celery-task-meta-3', '\x80\x04pickle');
    const failure = (why: string) => ({
      status: 'FAILURE',
      result: { exc_type: 'DecodeError', exc_message: [expect.stringContaining(why)], exc_module: 'lovage' },
    });
    expect(await backend.load(['1', '2', '3'])).toMatchObject([
      { ...failure('"1" is no state'), task_id: '1' },
      { status: 'SUCCESS', result: 1, task_id: '2' },
      { ...failure('not JSON'), task_id: '3' },
    ]);
  });

  test('groups', async () => {
    const backend = await openBackend();
    expect(await backend.loadGroup('g')).toBeUndefined();
    await backend.saveGroup('g', [['g', null], []]);
    expect(await backend.loadGroup('g')).toEqual([['g', null], []]);
    await backend.forgetGroup('g');
    expect(await backend.loadGroup('g')).toBeUndefined();
    await backend.cleanup();
  });

  test('stores of one name share what they keep', async () => {
    const name = `shared-${++serial}`;
    const [first, second, other] = [
      await openBackend(memoryBackend, {}, name),
      await openBackend(memoryBackend, {}, name),
      await openBackend(),
    ];
    await first.store(write('1', 'SUCCESS', 4));
    expect(await second.load(['1'])).toMatchObject([{ result: 4 }]);
    expect(await other.load(['1'])).toEqual([undefined]);
  });
});

describe('subscribing', () => {
  test('hears of every state, once per listener, until the end', async () => {
    const name = `notify-${++serial}`;
    const [reader, writer] = [await openBackend(memoryBackend, {}, name), await openBackend(memoryBackend, {}, name)];
    const seen: string[] = [];
    const hear = (label: string) => (stored: TaskMeta) => void seen.push(`${label}:${stored.task_id}:${stored.status}`);
    const first = await reader.subscribe(['1', '2', '1'], hear('a'));
    const second = await reader.subscribe(['1'], hear('b'));
    await writer.store([...write('1', 'STARTED'), ...write('2', 'SUCCESS')]);
    first.unsubscribe();
    first.unsubscribe();
    await writer.store([...write('1', 'SUCCESS'), ...write('2', 'STARTED')]);
    second.unsubscribe();
    await writer.store(write('1', 'FAILURE'));
    expect(seen).toEqual(['a:1:STARTED', 'b:1:STARTED', 'a:2:SUCCESS', 'b:1:SUCCESS']);
  });

  test('keys of a turn are watched together, each once, and let go together', async () => {
    const backend = await openBackend(testBackend());
    const subscriptions = await Promise.all([
      backend.subscribe(['1', '2'], () => {}),
      backend.subscribe(['2', '3'], () => {}),
    ]);
    await backend.subscribe(['1'], () => {});
    expect(latest().watched).toEqual([['celery-task-meta-1', 'celery-task-meta-2', 'celery-task-meta-3']]);
    for (const subscription of subscriptions) subscription.unsubscribe();
    await backend.store(write('x', 'STARTED'));
    await new Promise((resolve) => setImmediate(resolve));
    expect(latest().unwatched).toEqual([['celery-task-meta-2', 'celery-task-meta-3']]);
  });

  test('a full batch of keys misses none', async () => {
    const backend = await openBackend();
    const taskIds = Array.from({ length: 2500 }, (_, index) => `${index}`);
    const seen = new Set<string>();
    await backend.subscribe(taskIds, ({ task_id }) => seen.add(task_id));
    await backend.store(taskIds.map((taskId) => ({ meta: meta(taskId, 'SUCCESS') })));
    expect(seen.size).toBe(2500);
  });

  test('a listener that throws and a value that cannot be read hurt nobody', async () => {
    const backend = await openBackend(testBackend());
    const seen: TaskMeta[] = [];
    await backend.subscribe(['1'], () => {
      throw new Error('listener');
    });
    await backend.subscribe(['1'], (stored) => seen.push(stored));
    latest().notify?.('celery-task-meta-1', 'rubbish');
    latest().notify?.('celery-task-meta-1', codec.encode(meta('1', 'SUCCESS')));
    latest().notify?.('celery-task-meta-2', codec.encode(meta('2', 'SUCCESS')));
    expect(seen.map(({ status }) => status)).toEqual(['FAILURE', 'SUCCESS']);
  });

  test('a store that cannot notify is polled', async () => {
    const backend = await openBackend(
      testBackend(() => {
        const store = new TestStore();
        Object.assign(store, { feed: undefined });
        return store;
      }),
    );
    expect(backend.capabilities.notifies).toBe(false);
    const done = new Promise<TaskMeta>((resolve) => {
      void backend.subscribe(['1'], resolve);
    });
    TestStore.kept.set('celery-task-meta-1', codec.encode(meta('1', 'SUCCESS', 4)));
    expect(await done).toMatchObject({ result: 4 });
  });
});

describe('a lost store', () => {
  const lost = () => new ConnectionLostError('gone');

  test('is opened again by the next call', async () => {
    const backend = await openBackend(testBackend());
    latest().lose(lost());
    await new Promise((resolve) => setImmediate(resolve));
    expect(TestStore.opened).toHaveLength(1);
    expect(TestStore.opened[0]?.isClosed).toBe(true);
    await Promise.all([backend.store(write('1', 'SUCCESS')), backend.load(['1'])]);
    expect(TestStore.opened).toHaveLength(2);
  });

  test('by a call that rejects, too', async () => {
    let fails = true;
    const backend = await openBackend(
      testBackend(() => {
        const store = new TestStore();
        if (fails) store.set = () => Promise.reject(lost());
        fails = false;
        return store;
      }),
    );
    await expect(backend.store(write('1', 'SUCCESS'))).rejects.toMatchObject({ code: 'ERR_CONNECTION_LOST' });
    await backend.store(write('1', 'SUCCESS'));
    expect(TestStore.opened).toHaveLength(2);
  });

  test('that another call found lost and closed is a loss to this call too, not the end', async () => {
    const backend = await openBackend(
      testBackend(() => {
        const store = new TestStore();
        let closed!: (error: Error) => void;
        store.get = () => new Promise((_, reject) => (closed = reject));
        store.close = async () => closed(new ClosedError('closed'));
        return store;
      }),
    );
    const loading = backend.load(['1']);
    await new Promise((resolve) => setImmediate(resolve));
    latest().lose(lost());
    await expect(loading).rejects.toMatchObject({ code: 'ERR_CONNECTION_LOST', retryable: true });
  });

  test('is opened at once while somebody subscribes, watches the same keys, and what was missed is read', async () => {
    let refusals = 0;
    const backend = await openBackend(
      testBackend(() => {
        if (refusals-- > 0) throw lost();
        return new TestStore();
      }),
    );
    const seen = new Promise<TaskMeta>((resolve) => {
      void backend.subscribe(['1', '2'], resolve);
    });
    await backend.load(['1']);
    TestStore.kept.set('celery-task-meta-2', codec.encode(meta('2', 'SUCCESS', 'missed')));
    refusals = 1;
    latest().lose(lost());
    expect(await seen).toMatchObject({ task_id: '2', result: 'missed' });
    expect(latest().watched).toEqual([['celery-task-meta-1', 'celery-task-meta-2']]);
  });

  test('a cleanup may take longer than any call, and does the store no harm', async () => {
    let ended!: () => void;
    const backend = await openBackend(
      testBackend(() =>
        Object.assign(new TestStore(), { cleanup: () => new Promise<void>((resolve) => (ended = resolve)) }),
      ),
    );
    vi.useFakeTimers();
    onTestFinished(() => void vi.useRealTimers());
    const cleaning = backend.cleanup();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(latest().isClosed).toBe(false);
    ended();
    await cleaning;
  });

  test('one whose keys are still being watched when the backend is closed is closed too', async () => {
    let watched!: () => void;
    const backend = await openBackend(testBackend());
    await backend.subscribe(['1'], () => {});
    const create = vi.spyOn(TestStore.opened, 'push').mockImplementation((...stores) => {
      for (const store of stores) {
        TestStore.opened[TestStore.opened.length] = store;
        store.feed.watch = () => new Promise((resolve) => (watched = resolve));
      }
      return TestStore.opened.length;
    });
    latest().lose(lost());
    await vi.waitFor(() => expect(watched).toBeDefined(), 20_000);
    create.mockRestore();
    await backend.close();
    expect(latest().isClosed).toBe(false);
    watched();
    await vi.waitFor(() => expect(latest().isClosed).toBe(true), 20_000);
  });

  test('close flushes what was stored, ends the store, and is the end; twice is fine', async () => {
    const backend = await openBackend(testBackend());
    const storing = backend.store(write('1', 'SUCCESS'));
    await Promise.all([backend.close(), backend.close()]);
    await storing;
    expect(TestStore.kept.size).toBe(1);
    expect(latest().isClosed).toBe(true);
    const closed = { code: 'ERR_CLOSED' };
    await expect(backend.store(write('1', 'SUCCESS'))).rejects.toMatchObject(closed);
    await expect(backend.load(['1'])).rejects.toMatchObject(closed);
    await expect(backend.subscribe(['1'], () => {})).rejects.toMatchObject(closed);
  });
});
