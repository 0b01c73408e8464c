import {
  grammarOf,
  type InsertStatement,
  type SqlDatabase,
  type SqlRow,
  type SqlTransaction,
  type SqlValue,
} from '@lovage/sql';
import { describe, expect, test } from 'vitest';
import type { TaskRow } from '../task-row.ts';
import { ServerResultTables } from './server.ts';

const ROW: TaskRow = {
  task_id: 'a',
  status: 'SUCCESS',
  result: new Uint8Array([1]),
  date_done: '2026-01-02 03:04:05.000006',
  traceback: null,
  name: null,
  args: null,
  kwargs: null,
  worker: null,
  retries: null,
  queue: null,
};
const COLUMNS = ['id', ...Object.keys(ROW)];

/** Writes down what is asked of it, and knows the catalogue: no server of Oracle is at hand. */
function recorder(): { database: SqlDatabase; transaction: SqlTransaction; statements: string[] } {
  const statements: string[] = [];
  const made = new Set<string>();
  const ask = (sql: string, parameters: readonly SqlValue[]): readonly SqlRow[] => {
    expect(sql.split('?').length - 1, sql).toBe(parameters.length);
    statements.push(sql);
    const [, name] = /^CREATE \w+ (\w+)/.exec(sql) ?? [];
    if (name !== undefined) made.add(name.toUpperCase());
    if (sql.includes('all_objects'))
      return parameters.filter((value) => made.has(String(value))).map((value) => ({ name: value }));
    if (sql.includes('all_tab_columns')) return COLUMNS.map((column) => ({ name: column, generated: 0, bytes: 0 }));
    return sql.includes('SKIP LOCKED') ? [{ id: 1 }] : [];
  };
  const transaction: SqlTransaction = {
    query: async <Row extends SqlRow>(sql: string, parameters: readonly SqlValue[] = []) =>
      ask(sql, parameters) as readonly Row[],
    execute: async (sql, parameters = []) => ask(sql, parameters).length,
    insert: async ({ into, row, after = '' }: InsertStatement, rows) => {
      for (const values of rows) ask(`${into}${row}${after}`, values);
    },
    signal: () => {},
  };
  const database: Partial<SqlDatabase> = {
    product: 'oracle',
    maxStatementBytes: 0,
    query: async <Row extends SqlRow>(sql: string, parameters: readonly SqlValue[] = []) =>
      ask(sql, parameters) as readonly Row[],
    transaction: (work) => work(transaction),
  };
  // Only what the tables use.
  return { database: database as SqlDatabase, transaction, statements };
}

describe('on Oracle', () => {
  test('the statements are those that its grammar knows', async () => {
    const { database, transaction, statements } = recorder();
    const tables = new ServerResultTables(grammarOf('oracle'), {
      task: 'celery_taskmeta',
      group: 'celery_tasksetmeta',
      taskSchema: undefined,
      groupSchema: undefined,
    });
    await tables.prepare(database);
    await tables.store(transaction, [ROW]);
    await tables.load(database, ['a', 'b', 'c']);
    await tables.forget(transaction, ['a']);
    await tables.saveGroup(transaction, 'g', new Uint8Array([1]), '2026-01-02 03:04:05.000006');
    await tables.loadGroup(database, 'g');
    await tables.forgetGroup(transaction, 'g');
    await tables.removeExpired(transaction, '2026-01-02 03:04:05.000006', 10);
    const text = [...new Set(statements)].join(';\n');
    expect(text).not.toMatch(/LIMIT|ON CONFLICT|ON DUPLICATE|RETURNING|BYTEA|\bTEXT\b|VALUES \([^)]*\), \(/);
    await expect(`${text};\n`).toMatchFileSnapshot('server.test.oracle.sql');
  });
});

describe('a batch', () => {
  test('writes each task once, with its last state, and an end that is kept', async () => {
    const rows: (readonly SqlValue[])[] = [];
    const { transaction } = recorder();
    const tables = new ServerResultTables(grammarOf('postgresql'), {
      task: 't',
      group: 'g',
      taskSchema: 'one',
      groupSchema: undefined,
    });
    await tables.store({ ...transaction, insert: async (_, given) => void rows.push(...given) }, [
      { ...ROW, task_id: 'b', status: 'STARTED' },
      ROW,
      { ...ROW, status: 'FAILURE' },
      { ...ROW, task_id: 'b', status: 'RETRY' },
      { ...ROW, task_id: 'c', status: 'FAILURE' },
      { ...ROW, task_id: 'c', status: 'STARTED', date_done: '2026-01-02 03:04:05.000005' },
    ]);
    expect(rows.map(([id, status]) => [id, status])).toEqual([
      ['a', 'SUCCESS'],
      ['b', 'RETRY'],
      ['c', 'FAILURE'],
    ]);
  });
});
