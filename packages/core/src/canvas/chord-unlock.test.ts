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
    const { app, chord, context, retries, faults } = await setUp();
    await storeState(app, 'part', 'SUCCESS', 1);
    faults.publish = () => Promise.reject(lost);
    await expect(unlockChord(app, context, chord)).rejects.toMatchObject({ code: 'ERR_RETRY' });
    expect(retries).toMatchObject([{ cause: { retryable: true }, maxRetries: null }]);
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
});
