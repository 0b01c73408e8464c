import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { storeOptions, taskMeta } from '@lovage/conformance';
import { BackendUrl, type ResultBackend, type TaskMeta } from '@lovage/core/backend';
import { openSqlDatabase, type SqlDatabase } from '@lovage/sql';
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest';
import { sqlBackend } from '../src/index.ts';

const folder = mkdtempSync(join(tmpdir(), 'lovage-store-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let files = 0;
let url: BackendUrl;
let database: SqlDatabase;
const backends: ResultBackend[] = [];

beforeEach(async () => {
  url = new BackendUrl(`db+sqlite:///${join(folder, `${++files}.db`)}`);
  database = await openSqlDatabase(url);
});
afterEach(async () => {
  await Promise.all(backends.splice(0).map((backend) => backend.close()));
  await database.close();
});

async function open(
  settings: Record<string, unknown> = {},
  expiresSeconds: number | undefined = 60,
): Promise<ResultBackend> {
  const backend = await sqlBackend.open(url, storeOptions({ expiresSeconds, settings }));
  backends.push(backend);
  return backend;
}

function run(sql: string): Promise<number> {
  return database.transaction((transaction) => transaction.execute(sql));
}

const metaOf = (taskId: string, fields: Partial<TaskMeta> = {}): TaskMeta =>
  taskMeta(taskId, { result: 1, date_done: '2026-01-02T03:04:05.000006+00:00', ...fields });

describe("Celery's tables", () => {
  test('are those that SQLAlchemy 2.1 makes of the models of Celery 5.6', async () => {
    await open();
    const rows = await database.query<{ sql: string }>('SELECT sql FROM sqlite_master WHERE sql LIKE ? ORDER BY name', [
      'CREATE%celery%',
    ]);
    expect(rows.map(({ sql }) => sql.replaceAll('"', ''))).toEqual([
      'CREATE TABLE celery_taskmeta (\n\tid INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, \n\ttask_id VARCHAR(155), \n\tstatus VARCHAR(50), \n\tresult BLOB, \n\tdate_done DATETIME, \n\ttraceback TEXT, \n\tname VARCHAR(155), \n\targs BLOB, \n\tkwargs BLOB, \n\tworker VARCHAR(155), \n\tretries INTEGER, \n\tqueue VARCHAR(155), \n\tUNIQUE (task_id)\n)',
      'CREATE TABLE celery_tasksetmeta (\n\tid INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, \n\ttaskset_id VARCHAR(155), \n\tresult BLOB, \n\tdate_done DATETIME, \n\tUNIQUE (taskset_id)\n)',
      'CREATE INDEX ix_celery_taskmeta_date_done ON celery_taskmeta (date_done)',
      'CREATE INDEX ix_celery_tasksetmeta_date_done ON celery_tasksetmeta (date_done)',
    ]);
  });

  test('of an older Celery, without the extended columns, are written too', async () => {
    await run(
      'CREATE TABLE celery_taskmeta (id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, task_id VARCHAR(155), status VARCHAR(50), result BLOB, date_done DATETIME, traceback TEXT, UNIQUE (task_id))',
    );
    const backend = await open();
    await backend.store([{ meta: metaOf('a', { name: 'n', args: [1] }) }]);
    expect(await backend.load(['a'])).toEqual([{ ...metaOf('a'), children: null }]);
  });

  test('have the names of the settings', async () => {
    const backend = await open({ databaseTableNames: { task: 'mine', group: 'my_groups' } });
    await backend.store([{ meta: metaOf('a') }]);
    expect(await database.query('SELECT task_id, status, date_done FROM mine')).toEqual([
      { task_id: 'a', status: 'SUCCESS', date_done: '2026-01-02 03:04:05.000006' },
    ]);
  });

  test.each([
    { databaseTableNames: { task: 'a b' } },
    { databaseTableNames: 'x' },
    { databaseTableSchemas: { task: 's' } },
  ])('refuses %j', async (settings) => {
    await expect(open(settings)).rejects.toMatchObject({ code: 'ERR_CONFIG' });
  });

  test('survive rows that nobody wrote as they should be', async () => {
    const backend = await open();
    await run(
      "INSERT INTO celery_taskmeta (task_id, status, result, traceback) VALUES ('bad', CAST(x'ff00fe' AS TEXT), 'text', CAST(x'c328' AS TEXT))",
    );
    await run("INSERT INTO celery_taskmeta (task_id, status, result) VALUES (CAST(x'ff' AS TEXT), NULL, NULL)");
    const [bad] = await backend.load(['bad']);
    expect(bad).toMatchObject({ status: 'FAILURE', result: { exc_type: 'DecodeError' } });
  });
});

describe('a batch', () => {
  test('stores the rest when one value cannot be written', async () => {
    const backend = await open();
    const writes = [metaOf('a'), metaOf('b', { result: () => 1 }), metaOf('c'), metaOf('nul\0id')].map((meta) => ({
      meta,
    }));
    await expect(backend.store(writes)).rejects.toMatchObject({ code: 'ERR_ENCODE' });
    const loaded = await backend.load(['a', 'b', 'c', 'nul\0id']);
    expect(loaded.map((meta) => meta?.status)).toEqual(['SUCCESS', undefined, 'SUCCESS', undefined]);
  });
});

describe('cleanup', () => {
  test('removes what was done before the time, in batches, and nothing that is not done', async () => {
    const backend = await open({}, 60);
    const now = new Date().toISOString();
    const old = Array.from({ length: 2500 }, (_, index) => metaOf(`old${index}`));
    await backend.store(
      [...old, metaOf('new', { date_done: now }), metaOf('started', { status: 'STARTED', date_done: null })].map(
        (meta) => ({ meta }),
      ),
    );
    await backend.saveGroup('g', [['g', null], []]);
    await backend.cleanup();
    expect(await database.query('SELECT task_id FROM celery_taskmeta ORDER BY id')).toEqual([
      { task_id: 'new' },
      { task_id: 'started' },
    ]);
    expect(await backend.loadGroup('g')).toBeDefined();
    await run("UPDATE celery_tasksetmeta SET date_done = '2020-01-01 00:00:00.000000'");
    await backend.cleanup();
    expect(await backend.loadGroup('g')).toBeUndefined();
  });
});

describe('a subscription', () => {
  test('hears of what another connection commits, each state once', async () => {
    const backend = await open();
    await backend.store([{ meta: metaOf('early', { status: 'STARTED', date_done: null, result: null }) }]);
    const heard: string[] = [];
    let wake: (() => void) | undefined;
    const subscription = await backend.subscribe(['early', 'late'], ({ task_id: id, status }) => {
      heard.push(`${id} ${status}`);
      wake?.();
    });
    const until = async (count: number): Promise<void> => {
      while (heard.length < count) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    };
    // As Python does it: a row, then the same row changed.
    await run("INSERT INTO celery_taskmeta (task_id, status) VALUES ('late', 'RETRY')");
    await run("INSERT INTO celery_taskmeta (task_id, status) VALUES ('other', 'SUCCESS')");
    const worker = await open();
    await worker.store([{ meta: metaOf('early') }]);
    await until(2);
    await worker.store([{ meta: metaOf('late', { status: 'FAILURE', result: null }) }]);
    await until(3);
    await worker.store([{ meta: metaOf('late') }]);
    await until(4);
    expect(heard.toSorted()).toEqual(['early SUCCESS', 'late FAILURE', 'late RETRY', 'late SUCCESS']);
    subscription.unsubscribe();
  });
});
