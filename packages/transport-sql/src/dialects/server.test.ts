import {
  grammarOf,
  type InsertStatement,
  type SqlDatabase,
  type SqlRow,
  type SqlTransaction,
  type SqlValue,
} from '@lovage/sql';
import { describe, expect, test } from 'vitest';
import { ServerQueueTables } from './server.ts';

type Ask = (sql: string, parameters: readonly SqlValue[]) => readonly SqlRow[];

/** Writes down what is asked of it, and answers as `answer` says: no server of Oracle is at hand. */
function recorder(answer: Ask): { database: SqlDatabase; transaction: SqlTransaction; statements: string[] } {
  const statements: string[] = [];
  const ask: Ask = (sql, parameters) => {
    expect(sql.split('?').length - 1, sql).toBe(parameters.length);
    statements.push(sql);
    return answer(sql, parameters);
  };
  const transaction: SqlTransaction = {
    query: async <Row extends SqlRow>(sql: string, parameters: readonly SqlValue[] = [], maxRows?: number) => {
      const rows = ask(sql, parameters);
      // Rows are locked as they are fetched: whoever locks says how many.
      if (sql.includes('SKIP LOCKED')) expect(maxRows, sql).toBeGreaterThan(0);
      return rows as readonly Row[];
    },
    execute: async (sql, parameters = []) => {
      ask(sql, parameters);
      return 1;
    },
    insert: async ({ into, row, after = '' }: InsertStatement, rows) => {
      for (const values of rows) ask(`${into}${row}${after}`, values);
    },
    signal: () => {},
  };
  const database: Partial<SqlDatabase> = {
    product: 'oracle',
    maxStatementBytes: 0,
    now: () => 0,
    query: async <Row extends SqlRow>(sql: string, parameters: readonly SqlValue[] = []) =>
      ask(sql, parameters) as readonly Row[],
    transaction: (work) => work(transaction),
  };
  // Only what the tables use.
  return { database: database as SqlDatabase, transaction, statements };
}

describe('on Oracle', () => {
  test('the statements are those that its grammar knows', async () => {
    let isThere = false;
    const { database, transaction, statements } = recorder((sql, parameters) => {
      if (sql.includes('all_objects')) {
        const names = isThere ? parameters.map((name) => ({ name })) : [];
        isThere = isThere || statements.length > 1;
        return names;
      }
      if (sql.includes('all_tab_columns')) return [{ name: 'id', generated: 0, bytes: 0 }];
      if (sql.startsWith('SELECT id, queue_id, payload')) return [{ id: 1, queue_id: 1, payload: '{}' }];
      if (sql.startsWith('SELECT id, payload')) return [{ id: 1, payload: '{}' }];
      if (sql.startsWith('SELECT message_id FROM')) return [{ message_id: 1 }];
      if (sql.startsWith('SELECT id FROM kombu_message') && sql.includes('SKIP LOCKED'))
        return statements.filter((known) => known === sql).length === 1 ? [{ id: 1 }] : [];
      // The queue is not there at first.
      if (
        sql === 'SELECT id FROM kombu_queue WHERE name = ?' &&
        statements.filter((known) => known === sql).length === 1
      )
        return [];
      if (sql.includes('EXISTS')) return [{ ready: 1, due: null }];
      if (sql.startsWith('SELECT name FROM')) return [{ name: 'q' }];
      return sql.startsWith('SELECT') ? [{ id: 1, n: 1 }] : [];
    });
    const tables = new ServerQueueTables(grammarOf('oracle'), 'kombu_queue', 'kombu_message');
    await tables.create(database);
    await tables.ensureQueue(transaction, 'q');
    await tables.insert(transaction, 'q', ['{}', '{}']);
    await tables.insertDelayed(transaction, 'q', '{}', 1);
    await tables.outlook(database, ['q', 'r'], 0);
    await tables.releaseDue(transaction, 0);
    await tables.claim(transaction, 'q', 10, 7);
    await tables.ack(transaction, 7, [1]);
    await tables.requeue(transaction, 7, [1]);
    await tables.registerConsumer(transaction, 1, 'here');
    await tables.renewLease(transaction, 7, 2);
    await tables.retireConsumer(transaction, 7);
    await tables.census(database, 0);
    await tables.reap(transaction, 0, [7], [8]);
    await tables.setQueueExpiry(transaction, 'q', 1);
    await tables.renewQueueExpiry(transaction, ['q'], 1);
    await tables.size(database, 'q');
    await tables.purge(transaction, 'q');
    const binding = { routingKey: '', pattern: '', queue: 'q' };
    await tables.addBinding(transaction, 'x', binding);
    await tables.removeBinding(transaction, 'x', binding);
    await tables.bindings(database, 'x');
    const text = [...new Set(statements)].join(';\n');
    expect(text).not.toMatch(/LIMIT|ON CONFLICT|ON DUPLICATE|RETURNING|BOOLEAN|\bTEXT\b|VALUES \([^)]*\), \(/);
    await expect(`${text};\n`).toMatchFileSnapshot('server.test.oracle.sql');
  });

  test('an empty text is NULL there, and read as the empty text that it was', async () => {
    const { database } = recorder(() => [{ routing_key: null, pattern: null, queue: 'q' }]);
    const tables = new ServerQueueTables(grammarOf('oracle'), 'kombu_queue', 'kombu_message');
    expect(await tables.bindings(database, 'x')).toEqual([{ routingKey: '', pattern: '', queue: 'q' }]);
  });
});
