import { describe, expect, test } from 'vitest';
import { type OracleConnection, type OracleDriver, OracleSession } from './server.ts';

interface Call {
  readonly sql: string;
  readonly binds: readonly unknown[];
  readonly options: Readonly<Record<string, unknown>>;
}

const driver: OracleDriver = {
  getConnection: () => Promise.reject(new Error('No server of Oracle is at hand.')),
  OUT_FORMAT_OBJECT: 4002,
  DB_TYPE_VARCHAR: 'VARCHAR',
  DB_TYPE_NUMBER: 'NUMBER',
  DB_TYPE_CLOB: 'CLOB',
  DB_TYPE_BLOB: 'BLOB',
  STRING: 'text',
  BUFFER: 'bytes',
};

/** Writes down what the session asks of the driver: no server of Oracle is at hand. */
function recorded(rows: readonly Record<string, unknown>[] = []): {
  session: OracleSession;
  calls: Call[];
  fetched: number[];
} {
  const calls: Call[] = [];
  const fetched: number[] = [];
  const connection: OracleConnection = {
    oracleServerVersion: 2_300_000_000,
    oracleServerVersionString: '23.0.0.0.0',
    callTimeout: 0,
    execute: async (sql, binds, options) => {
      calls.push({ sql, binds, options });
      if (options['resultSet'] !== true) return { rows, rowsAffected: 3 };
      return {
        resultSet: {
          getRows: async (count) => {
            fetched.push(count);
            return rows.slice(0, count);
          },
          close: async () => {},
        },
      };
    },
    executeMany: async (sql, binds, options) => void calls.push({ sql, binds, options }),
    commit: async () => {},
    rollback: async () => {},
    ping: async () => {},
    close: async () => {},
    isHealthy: () => true,
  };
  return { session: new OracleSession(driver, connection), calls, fetched };
}

describe('a session of Oracle', () => {
  test('binds by position, each value by its type', async () => {
    const { session, calls } = recorded();
    const bytes = new Uint8Array([1, 2]);
    expect(
      await session.execute('UPDATE t SET a = ?, b = ?, c = ? WHERE d = ?', [1, 'x', bytes, 'y'.repeat(2000)]),
    ).toBe(3);
    expect(calls).toMatchObject([
      {
        sql: 'UPDATE t SET a = :1, b = :2, c = :3 WHERE d = :4',
        binds: [
          { val: 1, type: 'NUMBER' },
          { val: 'x', type: 'VARCHAR' },
          { val: Buffer.from(bytes), type: 'BLOB' },
          { type: 'CLOB' },
        ],
        options: { autoCommit: false },
      },
    ]);
  });

  test('inserts many rows by one call, with types that suit all of them', async () => {
    const { session, calls } = recorded();
    const statement = { into: 'INSERT INTO t (id, payload) VALUES ', row: '(s.NEXTVAL, ?, ?)' };
    await session.insert(statement, [
      ['short', 1],
      ['long'.repeat(500), null],
    ]);
    expect(calls).toMatchObject([
      {
        sql: 'INSERT INTO t (id, payload) VALUES (s.NEXTVAL, :1, :2)',
        binds: [
          ['short', 1],
          ['long'.repeat(500), null],
        ],
        options: { autoCommit: false, bindDefs: [{ type: 'CLOB' }, { type: 'NUMBER' }] },
      },
    ]);
  });

  test('fetches no more rows than it may lock', async () => {
    const { session, calls, fetched } = recorded([{ ID: 1 }, { ID: 2 }, { ID: 3 }]);
    expect(await session.query('SELECT id FROM t FOR UPDATE SKIP LOCKED', [], 2)).toEqual([{ id: 1 }, { id: 2 }]);
    expect(calls[0]?.options).toMatchObject({ resultSet: true, prefetchRows: 0, fetchArraySize: 2 });
    expect(fetched).toEqual([2]);
  });

  test('reads names in lower case, and large values as what they stand for', async () => {
    const { session, calls } = recorded([{ TASK_ID: 'a', RESULT: null }]);
    expect(await session.query('SELECT task_id, result FROM t', [])).toEqual([{ task_id: 'a', result: null }]);
    const handler = calls[0]?.options['fetchTypeHandler'] as (column: { dbType: unknown }) => unknown;
    expect(['CLOB', 'BLOB', 'NUMBER'].map((dbType) => handler({ dbType }))).toEqual([
      { type: 'text' },
      { type: 'bytes' },
      undefined,
    ]);
  });
});
