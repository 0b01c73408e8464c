import { execFile } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { filesystemBackend } from '@lovage/backend-filesystem';
import { storeOptions } from '@lovage/conformance';
import { isLovageError, Lovage } from '@lovage/core';
import { BackendUrl } from '@lovage/core/backend';
import { afterAll, describe, expect, test } from 'vitest';

const folder = mkdtempSync(join(tmpdir(), 'lovage-backend-filesystem-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const python = process.env['LOVAGE_TEST_PYTHON'];

function appOn(url: string): Lovage {
  return new Lovage('test', { broker: 'memory://', backend: url, backends: [filesystemBackend] });
}

/** Runs Python with Celery's own backend on the folder, as `app`. */
async function celery(program: string): Promise<unknown> {
  const before = `import json
from celery import Celery
from celery.result import AsyncResult, GroupResult
app = Celery(broker='memory://', backend='file://${folder}', set_as_current=True)
`;
  const { stdout } = await promisify(execFile)(python as string, ['-c', before + program]);
  return JSON.parse(stdout);
}

describe('files of results', () => {
  test.skipIf(python === undefined)('what Python stores is read here: states, exceptions', async () => {
    const [good, bad, custom] = [randomUUID(), randomUUID(), randomUUID()];
    await celery(`
app.backend.store_result('${good}', {'a': [1, None, 'é']}, 'SUCCESS')
app.backend.store_result('${bad}', ValueError('no', 7), 'FAILURE', traceback='Traceback ...')
app.backend.store_result('${custom}', {'done': 3}, 'PROGRESS')
print('0')`);
    const app = appOn(`file://${folder}`);
    expect(await app.asyncResult(good).get({ timeout: 50 })).toEqual({ a: [1, null, 'é'] });
    await expect(app.asyncResult(bad).get({ timeout: 50 })).rejects.toMatchObject({ code: 'ERR_TASK_FAILED' });
    expect(await app.asyncResult(custom).state()).toBe('PROGRESS');
    await app.close();
  });

  test.skipIf(python === undefined)('what is stored here Python reads: states, exceptions, groups', async () => {
    const backend = await openStore(`file://${folder}`);
    const [good, bad, group] = [randomUUID(), randomUUID(), randomUUID()];
    const meta = { traceback: null, children: [], date_done: new Date().toISOString() };
    await backend.store([
      { meta: { ...meta, status: 'SUCCESS', result: { a: [1, null, 'é'] }, task_id: good } },
      {
        meta: {
          ...meta,
          status: 'FAILURE',
          result: { exc_type: 'ValueError', exc_message: ['no', 7], exc_module: 'builtins' },
          traceback: 'Traceback ...',
          task_id: bad,
        },
      },
    ]);
    await backend.saveGroup(group, [
      [group, null],
      [
        [[good, null], null],
        [[bad, null], null],
      ],
    ]);
    const seen = await celery(`
bad = AsyncResult('${bad}')
group = GroupResult.restore('${group}')
print(json.dumps([AsyncResult('${good}').get(timeout=5), bad.state, repr(bad.result), bad.traceback, [r.id for r in group]]))`);
    expect(seen).toEqual([{ a: [1, null, 'é'] }, 'FAILURE', "ValueError('no', 7)", 'Traceback ...', [good, bad]]);
    await backend.close();
  });

  test('a file has the name of the key and nothing but the value, and no draft is left', async () => {
    const own = join(folder, 'layout');
    mkdirSync(own);
    const backend = await openStore(`file://localhost${own}`);
    const id = randomUUID();
    await backend.store([
      { meta: { status: 'SUCCESS', result: 4, traceback: null, children: [], date_done: null, task_id: id } },
    ]);
    expect(readdirSync(own)).toEqual([`celery-task-meta-${id}`]);
    expect(JSON.parse(readFileSync(join(own, `celery-task-meta-${id}`), 'utf8'))).toMatchObject({
      status: 'SUCCESS',
      result: 4,
      task_id: id,
    });
    await backend.close();
  });

  test('an id that names another place is refused, and reads as nothing', async () => {
    const backend = await openStore(`file://${folder}`);
    const meta = { status: 'SUCCESS', result: 1, traceback: null, children: [], date_done: null };
    for (const task_id of ['x/../../escaped', 'a\0b', 'x'.repeat(300)]) {
      const error: unknown = await backend.store([{ meta: { ...meta, task_id } }]).catch((thrown: unknown) => thrown);
      expect(isLovageError(error, 'ERR_UNSUPPORTED')).toBe(true);
      expect(await backend.load([task_id])).toEqual([undefined]);
    }
    await backend.close();
  });

  test('a lock and a draft that a dead process left stop nobody', async () => {
    const own = join(folder, 'left');
    mkdirSync(own);
    const backend = await openStore(`file://${own}`);
    const meta = { status: 'SUCCESS', traceback: null, children: [], date_done: null, task_id: 'id' };
    const lock = `.lovage-lock-${createHash('sha256').update('celery-task-meta-id').digest('hex').slice(0, 32)}`;
    const past = new Date(Date.now() - 7_200_000);
    for (const name of [lock, '.lovage-draft']) {
      writeFileSync(join(own, name), '');
      utimesSync(join(own, name), past, past);
    }
    await backend.store([{ meta: { ...meta, result: 1 } }]);
    await backend.cleanup();
    expect(readdirSync(own)).toEqual(['celery-task-meta-id']);
    await backend.close();
  });

  test.each([
    ['file://', /names no folder/],
    ['file:///no/such/folder', /cannot hold results/],
  ])('%s is refused', async (url, message) => {
    await expect(openStore(url)).rejects.toThrow(message);
  });
});

async function openStore(url: string) {
  return filesystemBackend.open(new BackendUrl(url), storeOptions());
}
