import { describe, expect, test } from 'vitest';
import { faultyTransport, openApp, storeState } from '../../test/support/app-bench.ts';
import type { ResultBackend } from '../backend/contract.ts';
import {
  ConfigError,
  ConnectionLostError,
  MaxRetriesExceededError,
  type RetryOptions,
  type TaskContext,
} from '../index.ts';
import { memoryBackend } from '../memory/index.ts';
import { Retry } from '../protocol/task-errors.ts';
import { unlockChord, type LockedChord } from './chord-unlock.ts';

const lost = new ConnectionLostError('lost');

async function setUp(change: (backend: ResultBackend) => void = () => {}) {
  const faults: { publish?: () => Promise<void> } = {};
  const app = openApp({
    transports: [faultyTransport(faults)],
    backends: [
      {
        schemes: memoryBackend.schemes,
        open: async (url, options) => {
          const backend = await memoryBackend.open(url, options);
          change(backend);
          return backend;
        },
      },
    ],
  });
  const chord: LockedChord = {
    groupId: 'group',
    body: app.signature('body').set({ taskId: 'body' }).toJSON(),
    interval: 2,
    maxRetries: null,
    header: [[['part', null], null]],
  };
  const retries: RetryOptions[] = [];
  const context = {
    retry: (options: RetryOptions) => {
      retries.push(options);
      throw new Retry({ cause: options.cause });
    },
  } as unknown as TaskContext;
  const sent = async (): Promise<number> =>
    (await (await app.producerConnection().connection({ timeoutMs: 1000 })).inspect('celery')).ready;
  const bodyState = async () => (await (await app.requireBackend('test')).load(['body']))[0];
  return { app, chord, context, retries, faults, sent, bodyState };
}

describe('celery.chord_unlock', () => {
  test('looks again for a part that has not ended, and sends the body for those that have', async () => {
    const { app, chord, context, retries, sent } = await setUp();
    await expect(unlockChord(app, context, chord)).rejects.toMatchObject({ code: 'ERR_RETRY' });
    expect(retries).toEqual([{ countdown: 2, maxRetries: null }]);
    await storeState(app, 'part', 'SUCCESS', 1);
    expect(await unlockChord(app, context, chord)).toBeNull();
    expect(await sent()).toBe(1);
  });

  test('looks again when the store is away, however often', async () => {
    const { app, chord, context, retries } = await setUp((backend) => {
      backend.load = () => Promise.reject(lost);
    });
    await expect(unlockChord(app, context, { ...chord, maxRetries: 1 })).rejects.toMatchObject({ code: 'ERR_RETRY' });
    expect(retries).toEqual([{ cause: lost, countdown: 2, maxRetries: null }]);
  });

  test('looks again when the broker is away', async () => {
    const { app, chord, context, retries, faults, sent } = await setUp();
    await storeState(app, 'part', 'SUCCESS', 1);
    faults.publish = () => Promise.reject(lost);
    await expect(unlockChord(app, context, chord)).rejects.toMatchObject({ code: 'ERR_RETRY' });
    expect(retries).toMatchObject([{ cause: { retryable: true }, maxRetries: null }]);
    delete faults.publish;
    expect(await unlockChord(app, context, chord)).toBeNull();
    expect(await sent()).toBe(1);
  });

  test('ends a body that can never be sent, and one that was looked for too often', async () => {
    const first = await setUp();
    await storeState(first.app, 'part', 'SUCCESS', 1);
    first.faults.publish = () => Promise.reject(new ConfigError('never'));
    expect(await unlockChord(first.app, first.context, first.chord)).toBeNull();
    expect(await first.bodyState()).toMatchObject({ status: 'FAILURE', result: { exc_type: 'ChordError' } });

    const second = await setUp();
    second.context.retry = () => {
      throw new MaxRetriesExceededError('too often');
    };
    expect(await unlockChord(second.app, second.context, second.chord)).toBeNull();
    expect(await second.bodyState()).toMatchObject({ status: 'FAILURE', result: { exc_type: 'ChordError' } });
  });

  test('two messages that look after one chord send its body once', async () => {
    const { app, chord, context, sent } = await setUp();
    await storeState(app, 'part', 'SUCCESS', 1);
    const both = await Promise.allSettled([unlockChord(app, context, chord), unlockChord(app, context, chord)]);
    // Whoever comes second is done or looks again.
    for (const outcome of both) {
      if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject({ code: 'ERR_RETRY' });
    }
    expect(await unlockChord(app, context, chord)).toBeNull();
    expect(await sent()).toBe(1);
  });

  test('a body is sent by another message when the one that was to send it has died', async () => {
    const { app, chord, context, sent, retries } = await setUp();
    await storeState(app, 'part', 'SUCCESS', 1);
    const { documents } = await app.requireBackend('test');
    const claim = await documents?.write('lovage-chord:group', String(Date.now()), undefined);
    await expect(unlockChord(app, context, chord)).rejects.toMatchObject({ code: 'ERR_RETRY' });
    expect(retries).toHaveLength(1);
    await documents?.write('lovage-chord:group', String(Date.now() - 60_000), claim);
    expect(await unlockChord(app, context, chord)).toBeNull();
    expect(await sent()).toBe(1);
  });

  test('on a store that cannot compare and swap the body is sent all the same', async () => {
    const { app, chord, context, sent } = await setUp((backend) => {
      Object.defineProperty(backend, 'documents', { value: undefined });
    });
    await storeState(app, 'part', 'SUCCESS', 1);
    expect(await unlockChord(app, context, chord)).toBeNull();
    expect(await sent()).toBe(1);
  });
});
