import { mkdtempSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BrokerUrl } from '@lovage/core/transport';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import type { SqlDatabase } from './database.ts';
import { openSqlDatabase, type SqlOpenOptions } from './open.ts';
import { openSqliteDriver, type SqliteDriver } from './sqlite/driver.ts';

const folder = mkdtempSync(join(tmpdir(), 'lovage-sql-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let files = 0;
function newFile(): string {
  return join(folder, `${++files}.db`);
}

const databases: SqlDatabase[] = [];
afterEach(() => Promise.all(databases.splice(0).map((database) => database.close())));

function opened(database: SqlDatabase): SqlDatabase {
  databases.push(database);
  return database;
}

async function openFile(path: string, options: SqlOpenOptions = {}): Promise<SqlDatabase> {
  return opened(await openSqlDatabase(new BrokerUrl(`sqla+sqlite:///${path}`), options));
}

/** A second process, as far as SQLite is concerned. */
function openForeign(path: string): SqliteDriver {
  return openSqliteDriver(path);
}

async function countOf(database: SqlDatabase): Promise<unknown> {
  return (await database.query('SELECT count(*) AS n FROM t'))[0]?.['n'];
}

describe('a SQLite database', () => {
  test('keeps values of every kind', async () => {
    const database = await openFile(newFile());
    const values = [1, 1.5, -7, 2 ** 40, 'text', 'ü€😀', '', null, new Uint8Array([0, 1, 255]), new Uint8Array()];
    await database.transaction(async (transaction) => {
      await transaction.execute('CREATE TABLE v (id INTEGER PRIMARY KEY, value)');
      for (const value of values) await transaction.execute('INSERT INTO v (value) VALUES (?)', [value]);
    });
    const rows = await database.query('SELECT value, typeof(value) AS type FROM v ORDER BY id');
    expect(rows.map(({ value }) => (value instanceof Uint8Array ? new Uint8Array(value) : value))).toEqual(values);
    expect(rows.map(({ type }) => type).slice(0, 4)).toEqual(['integer', 'real', 'integer', 'integer']);
  });

  test('is private to its owner', async () => {
    const path = newFile();
    const database = await openFile(path);
    await database.transaction(async (transaction) => transaction.execute('CREATE TABLE t (a)'));
    expect(statSync(path).mode & 0o077).toBe(0);
    expect(statSync(`${path}-wal`).mode & 0o077).toBe(0);
  });

  test('joins the calls of one turn, and one that fails takes nobody with it', async () => {
    const path = newFile();
    const database = await openFile(path);
    await database.transaction(async (transaction) => transaction.execute('CREATE TABLE t (a UNIQUE)'));
    const foreign = openForeign(path);
    const before = foreign.all('PRAGMA data_version', [])[0]?.['data_version'] as number;
    const insert = (value: number): Promise<number> =>
      database.transaction(async (transaction) => transaction.execute('INSERT INTO t VALUES (?)', [value]));
    await Promise.all(Array.from({ length: 100 }, (_, value) => insert(value)));
    expect(Number(foreign.all('PRAGMA data_version', [])[0]?.['data_version']) - before).toBe(1);
    const outcomes = await Promise.allSettled([insert(200), insert(5), insert(201)]);
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect(await countOf(database)).toBe(102);
    foreign.close();
  });

  test('shares one connection among its openers, and closes with the last', async () => {
    const path = newFile();
    const first = await openFile(path);
    const second = await openFile(join(folder, '.', `${files}.db`));
    await first.transaction(async (transaction) => transaction.execute('CREATE TABLE t (a)'));
    await first.close();
    await first.close();
    await expect(first.query('SELECT 1')).rejects.toMatchObject({ code: 'ERR_CLOSED' });
    expect(await countOf(second)).toBe(0);
    await second.close();
    const third = await openFile(path);
    expect(await countOf(third)).toBe(0);
  });

  test('commits what was asked before close()', async () => {
    const path = newFile();
    const database = await openFile(path);
    await database.transaction(async (transaction) => transaction.execute('CREATE TABLE t (a)'));
    const written = database.transaction(async (transaction) => transaction.execute('INSERT INTO t VALUES (1)'));
    await database.close();
    expect(await written).toBe(1);
  });

  test('waits for a foreign writer without blocking the loop, then says so', async () => {
    const path = newFile();
    const database = await openFile(path, { busyTimeoutMs: 60 });
    await database.transaction(async (transaction) => transaction.execute('CREATE TABLE t (a)'));
    const foreign = openForeign(path);
    foreign.run('BEGIN IMMEDIATE', []);
    let turns = 0;
    const ticking = setInterval(() => turns++, 1);
    const insert = database.transaction(async (transaction) => transaction.execute('INSERT INTO t VALUES (1)'));
    await expect(insert).rejects.toMatchObject({ code: 'ERR_TIMEOUT', retryable: true });
    clearInterval(ticking);
    expect(turns).toBeGreaterThan(2);
    const patient = database.transaction(async (transaction) => transaction.execute('INSERT INTO t VALUES (1)'), {
      deadlineMs: 10_000,
    });
    const abort = new AbortController();
    const aborted = database.transaction(async (transaction) => transaction.execute('INSERT INTO t VALUES (2)'), {
      signal: abort.signal,
    });
    abort.abort(new Error('enough'));
    await expect(aborted).rejects.toThrow('enough');
    foreign.run('COMMIT', []);
    await patient;
    expect(await countOf(database)).toBe(1);
    foreign.close();
  });

  test('hears of local and of foreign commits', async () => {
    const path = newFile();
    const database = await openFile(path);
    await database.transaction(async (transaction) => transaction.execute('CREATE TABLE t (a)'));
    const heard: boolean[] = [];
    let wake: (() => void) | undefined;
    const listening = database.listen('topic', (foreign) => {
      heard.push(foreign);
      wake?.();
    });
    await database.transaction(async (transaction) => transaction.signal('topic'));
    expect(heard).toEqual([false]);
    const woken = new Promise<void>((resolve) => {
      wake = resolve;
    });
    const foreign = openForeign(path);
    foreign.run('INSERT INTO t VALUES (1)', []);
    await woken;
    expect(heard).toEqual([false, true]);
    listening.stop();
    foreign.close();
  });

  test('is lost when its file is replaced', async () => {
    const path = newFile();
    const database = await openFile(path);
    await database.transaction(async (transaction) => transaction.execute('CREATE TABLE t (a)'));
    const listening = database.listen('topic', () => {});
    renameSync(path, `${path}.away`);
    await expect(database.lost).rejects.toMatchObject({ code: 'ERR_CONNECTION_LOST' });
    await expect(
      database.transaction(async (transaction) => transaction.execute('INSERT INTO t VALUES (1)')),
    ).rejects.toMatchObject({ code: 'ERR_CONNECTION_LOST' });
    listening.stop();
    const next = await openFile(path);
    await next.transaction(async (transaction) => transaction.execute('CREATE TABLE t (a)'));
  });

  test('says what is wrong with a place', async () => {
    await expect(openFile('/nonexistent/folder/x.db')).rejects.toMatchObject({ code: 'ERR_CONNECT' });
    const path = newFile();
    writeFileSync(
      path,
      'this is not a database at all, only text that is long enough to be read as a header'.repeat(20),
    );
    await expect(openFile(path)).rejects.toMatchObject({ code: 'ERR_CONNECT', retryable: false });
    await expect(openSqlDatabase(new BrokerUrl('sqla+sqlite:///x.db?mode=ro'))).rejects.toMatchObject({
      code: 'ERR_CONFIG',
    });
  });

  test('lives in memory for the openers of one process', async () => {
    const first = opened(await openSqlDatabase(new BrokerUrl('sqla+sqlite://')));
    await first.transaction(async (transaction) => transaction.execute('CREATE TABLE t (a)'));
    const second = opened(await openSqlDatabase(new BrokerUrl('db+sqlite://')));
    expect(await countOf(second)).toBe(0);
  });
});
