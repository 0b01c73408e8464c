import { storeOptions, taskMeta } from '@lovage/conformance';
import { BackendUrl, type ResultBackend, type TaskMeta } from '@lovage/core/backend';
import { openSqlDatabase, type SqlDatabase } from '@lovage/sql';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { sqlBackend } from '../src/index.ts';

const { LOVAGE_TEST_POSTGRESQL_URL: postgresql = '', LOVAGE_TEST_MARIADB_URL: mariadb = '' } = process.env;

/** What the servers say of the tables that SQLAlchemy 2.0 made there of Celery's models. */
const LAYOUTS = {
  postgresql: {
    columns:
      "SELECT column_name AS name, COALESCE(data_type || '(' || character_maximum_length || ')', data_type) AS type FROM information_schema.columns WHERE table_name = 'celery_taskmeta' ORDER BY ordinal_position",
    types: [
      'integer',
      'character varying(155)',
      'character varying(50)',
      'bytea',
      'timestamp without time zone',
      'text',
      'character varying(155)',
      'bytea',
      'bytea',
      'character varying(155)',
      'integer',
      'character varying(155)',
    ],
  },
  mariadb: {
    columns:
      "SELECT COLUMN_NAME AS name, COLUMN_TYPE AS type FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'celery_taskmeta' ORDER BY ORDINAL_POSITION",
    types: [
      'int(11)',
      'varchar(155)',
      'varchar(50)',
      'blob',
      'datetime',
      'text',
      'varchar(155)',
      'blob',
      'blob',
      'varchar(155)',
      'int(11)',
      'varchar(155)',
    ],
  },
} as const;
const NAMES = 'id task_id status result date_done traceback name args kwargs worker retries queue'.split(' ');

describe.each([
  { product: 'postgresql', base: postgresql },
  { product: 'mariadb', base: mariadb },
] as const)('$product', ({ product, base }) => {
  describe.skipIf(base === '')('in its tables', () => {
    const url = new BackendUrl(`db+${base}`);
    const backends: ResultBackend[] = [];
    let database: SqlDatabase;
    let count = 0;

    beforeAll(async () => {
      database = await openSqlDatabase(url);
      for (const table of ['celery_taskmeta', 'celery_tasksetmeta']) await run(`DROP TABLE IF EXISTS ${table}`);
    });
    afterAll(() => database.close());
    afterEach(() => Promise.all(backends.splice(0).map((backend) => backend.close())));

    /** With connections of its own, as another process has them. */
    async function open(settings: Record<string, unknown> = {}): Promise<ResultBackend> {
      const backend = await sqlBackend.open(
        new BackendUrl(`db+${base}?connect_timeout=${3 + ++count}`),
        storeOptions({ expiresSeconds: 60, settings }),
      );
      backends.push(backend);
      return backend;
    }

    function run(sql: string): Promise<number> {
      return database.transaction((transaction) => transaction.execute(sql));
    }

    const metaOf = (taskId: string, fields: Partial<TaskMeta> = {}): TaskMeta =>
      taskMeta(taskId, { result: 1, children: null, date_done: '2026-01-02T03:04:05+00:00', ...fields });

    test('has what SQLAlchemy makes of the models of Celery 5.6', async () => {
      await open();
      expect(await database.query(LAYOUTS[product].columns)).toEqual(
        NAMES.map((name, index) => ({ name, type: LAYOUTS[product].types[index] })),
      );
    });

    test('joins a batch, keeps the last state of each task and no failure after a success', async () => {
      const backend = await open();
      await backend.store(
        [
          metaOf('a', { status: 'STARTED', result: null }),
          metaOf('a'),
          metaOf('a', { status: 'FAILURE', result: null }),
          metaOf('b', { status: 'STARTED', result: null }),
        ].map((meta) => ({ meta })),
      );
      await backend.store([{ meta: metaOf('a', { status: 'FAILURE', result: null }) }]);
      expect((await backend.load(['b', 'a'])).map((meta) => meta?.status)).toEqual(['STARTED', 'SUCCESS']);
      await backend.forget(['a', 'b']);
    });

    test('two processes that store the same tasks in different orders do not stop each other', async () => {
      const [one, two] = [await open(), await open()];
      const ids = Array.from({ length: 200 }, (_, index) => `both-${index}`);
      const write = (backend: ResultBackend, list: readonly string[]): Promise<void> =>
        backend.store(list.map((id) => ({ meta: metaOf(id, { status: 'STARTED', result: null }) })));
      for (let round = 0; round < 5; round++) await Promise.all([write(one, ids), write(two, ids.toReversed())]);
      expect((await one.load(ids)).every((meta) => meta?.status === 'STARTED')).toBe(true);
      await one.forget(ids);
    });

    test('a subscription hears of what other processes and Python commit', async () => {
      const [reader, worker] = [await open(), await open()];
      const heard: string[] = [];
      let wake: (() => void) | undefined;
      const subscription = await reader.subscribe(['ours', 'python'], ({ task_id: id, status }) => {
        heard.push(`${id} ${status}`);
        wake?.();
      });
      const until = async (length: number): Promise<number> => {
        const since = performance.now();
        while (heard.length < length) {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
        return performance.now() - since;
      };
      const id = product === 'postgresql' ? "nextval('task_id_sequence')" : 'nextval(task_id_sequence)';
      await run(`INSERT INTO celery_taskmeta (id, task_id, status) VALUES (${id}, 'python', 'STARTED')`);
      await until(1);
      await worker.store([{ meta: metaOf('ours') }]);
      expect(await until(2)).toBeLessThan(product === 'postgresql' ? 500 : 1000);
      await run("UPDATE celery_taskmeta SET status = 'RETRY' WHERE task_id = 'python'");
      await until(3);
      expect(heard).toEqual(['python STARTED', 'ours SUCCESS', 'python RETRY']);
      subscription.unsubscribe();
      await worker.forget(['ours', 'python']);
    });

    test('what does not fit is refused, or cut where it is only for people', async () => {
      const backend = await open();
      const long = metaOf('long', { traceback: `${'x'.repeat(70_000)}\u00e4 end`, name: 'n'.repeat(300), args: [] });
      await backend.store([{ meta: long }]);
      const [loaded] = await backend.load(['long']);
      expect(loaded?.name).toHaveLength(155);
      expect(loaded?.traceback).toMatch(/x\u00e4 end$/);
      await expect(backend.store([{ meta: metaOf('i'.repeat(156)) }])).rejects.toMatchObject({ code: 'ERR_ENCODE' });
      if (product === 'mariadb') {
        const writes = [metaOf('large', { result: 'x'.repeat(70_000) }), metaOf('small')].map((meta) => ({ meta }));
        await expect(backend.store(writes)).rejects.toMatchObject({ code: 'ERR_ENCODE', limitBytes: 65_535 });
        expect((await backend.load(['large', 'small'])).map((meta) => meta?.status)).toEqual([undefined, 'SUCCESS']);
      }
      await backend.forget(['long', 'small']);
    });

    test('cleanup removes what was done before the time, in batches, and nothing else', async () => {
      const backend = await open();
      const now = new Date().toISOString();
      const old = Array.from({ length: 2500 }, (_, index) => metaOf(`old${index}`));
      await backend.store([...old, metaOf('new', { date_done: now })].map((meta) => ({ meta })));
      await backend.saveGroup('g', [['g', null], []]);
      await backend.cleanup();
      expect(await database.query('SELECT task_id FROM celery_taskmeta')).toEqual([{ task_id: 'new' }]);
      expect(await backend.loadGroup('g')).toBeDefined();
      await run("UPDATE celery_tasksetmeta SET date_done = '2020-01-01 00:00:00'");
      await backend.cleanup();
      expect(await backend.loadGroup('g')).toBeUndefined();
    });

    test.runIf(product === 'postgresql')('in a schema of its own', async () => {
      await run('CREATE SCHEMA IF NOT EXISTS "Results"');
      const settings = { databaseTableSchemas: { task: 'Results', group: 'Results' } };
      const [one, two] = await Promise.all([open(settings), open(settings)]);
      await one.store([{ meta: metaOf('there') }]);
      expect(await two.load(['there'])).toMatchObject([{ result: 1 }]);
      expect(await database.query('SELECT task_id FROM "Results".celery_taskmeta')).toEqual([{ task_id: 'there' }]);
      await run('DROP SCHEMA "Results" CASCADE');
    });
  });
});
