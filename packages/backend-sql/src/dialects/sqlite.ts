import { quoteIdentifier, type SqlDatabase, type SqlTransaction } from '@lovage/sql';
import { isReplaced } from '../rows.ts';
import type { ResultTables } from '../tables.ts';
import { TASK_COLUMNS, type TaskColumn, type TaskRow, textOf, toTaskRow } from '../task-row.ts';

const TEXTS = new Set<string>(['task_id', 'status', 'date_done', 'traceback', 'name', 'worker', 'queue']);

/** SQLite. The tables and indexes are what SQLAlchemy 2.1 makes of Celery's models, so that either side may create them. */
export class SqliteResultTables implements ResultTables {
  /** SQLite has one writer at a time. */
  readonly showsInOrder = true;
  readonly #sql: ReturnType<typeof statements>;
  #columns: readonly TaskColumn[] = TASK_COLUMNS;
  #storeSql = '';
  #loadSql = '';

  constructor(taskTable: string, groupTable: string) {
    this.#sql = statements(taskTable, groupTable);
  }

  async prepare(database: SqlDatabase): Promise<void> {
    const { schema, columns } = this.#sql;
    const existing = await database.query(
      'SELECT name FROM sqlite_master WHERE name IN (SELECT value FROM json_each(?))',
      [JSON.stringify(Object.keys(schema))],
    );
    if (existing.length < Object.keys(schema).length) {
      await database.transaction(async (transaction) => {
        for (const statement of Object.values(schema)) await transaction.execute(statement);
      });
    }
    // A table that an older Celery made may lack the columns of `result_extended`.
    const present = new Set((await database.query<{ name: string }>(columns)).map(({ name }) => name));
    this.#columns = TASK_COLUMNS.filter((column) => present.has(column));
    this.#storeSql = this.#sql.store(this.#columns);
    this.#loadSql = this.#sql.load(this.#columns);
  }

  /** SQLite takes no notice of the sizes that stand in the types. */
  fit(row: TaskRow): TaskRow {
    return row;
  }

  fitGroup(): void {}

  async store(transaction: SqlTransaction, rows: readonly TaskRow[]): Promise<void> {
    for (const row of rows) {
      await transaction.execute(
        this.#storeSql,
        this.#columns.map((column) => row[column]),
      );
    }
  }

  async load(database: SqlDatabase, taskIds: readonly string[]): Promise<readonly TaskRow[]> {
    const rows = await database.query(this.#loadSql, [JSON.stringify(taskIds)]);
    return rows.map(toTaskRow);
  }

  async position(database: SqlDatabase): Promise<number> {
    const [row] = await database.query<{ last: number | null }>(this.#sql.position);
    return row?.last ?? 0;
  }

  async newTaskIds(database: SqlDatabase, position: number): Promise<{ taskIds: readonly string[]; position: number }> {
    const rows = await database.query<{ id: number; task_id: Uint8Array | null }>(this.#sql.newer, [position]);
    return { taskIds: rows.map(({ task_id: taskId }) => textOf(taskId) ?? ''), position: rows.at(-1)?.id ?? position };
  }

  async forget(transaction: SqlTransaction, taskIds: readonly string[]): Promise<void> {
    await transaction.execute(this.#sql.forget, [JSON.stringify(taskIds)]);
  }

  async saveGroup(transaction: SqlTransaction, groupId: string, pickle: Uint8Array, dateDone: string): Promise<void> {
    await transaction.execute(this.#sql.saveGroup, [groupId, pickle, dateDone]);
  }

  async loadGroup(database: SqlDatabase, groupId: string): Promise<Uint8Array | undefined> {
    const [row] = await database.query<{ result: Uint8Array | null }>(this.#sql.loadGroup, [groupId]);
    return row?.result ?? undefined;
  }

  async forgetGroup(transaction: SqlTransaction, groupId: string): Promise<void> {
    await transaction.execute(this.#sql.forgetGroup, [groupId]);
  }

  async removeExpired(transaction: SqlTransaction, before: string, max: number): Promise<number> {
    const tasks = await transaction.execute(this.#sql.expireTasks, [before, max]);
    return tasks + (await transaction.execute(this.#sql.expireGroups, [before, max]));
  }
}

function statements(taskTable: string, groupTable: string) {
  const task = quoteIdentifier(taskTable);
  const group = quoteIdentifier(groupTable);
  const listed = '(SELECT value FROM json_each(?))';
  const schema: Record<string, string> = {
    [taskTable]: `CREATE TABLE IF NOT EXISTS ${task} (
\tid INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, \n\ttask_id VARCHAR(155), \n\tstatus VARCHAR(50), \n\tresult BLOB, \n\tdate_done DATETIME, \n\ttraceback TEXT, \n\tname VARCHAR(155), \n\targs BLOB, \n\tkwargs BLOB, \n\tworker VARCHAR(155), \n\tretries INTEGER, \n\tqueue VARCHAR(155), \n\tUNIQUE (task_id)\n)`,
    // SQLAlchemy names an index when the class is made, before Celery renames the table.
    ix_celery_taskmeta_date_done: `CREATE INDEX IF NOT EXISTS ix_celery_taskmeta_date_done ON ${task} (date_done)`,
    [groupTable]: `CREATE TABLE IF NOT EXISTS ${group} (
\tid INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, \n\ttaskset_id VARCHAR(155), \n\tresult BLOB, \n\tdate_done DATETIME, \n\tUNIQUE (taskset_id)\n)`,
    ix_celery_tasksetmeta_date_done: `CREATE INDEX IF NOT EXISTS ix_celery_tasksetmeta_date_done ON ${group} (date_done)`,
  };
  return {
    schema,
    columns: `SELECT name FROM pragma_table_info('${taskTable}')`,
    store: (columns: readonly string[]): string => {
      const values = columns.map(() => '?').join(', ');
      const updates = columns
        .filter((column) => column !== 'task_id')
        .map((column) => `${column} = excluded.${column}`);
      const replaced = isReplaced(
        (column) => `${task}.${column}`,
        (column) => `excluded.${column}`,
      );
      return `INSERT INTO ${task} (${columns.join(', ')}) VALUES (${values}) ON CONFLICT (task_id) DO UPDATE SET ${updates.join(', ')} WHERE ${replaced}`;
    },
    load: (columns: readonly string[]): string => {
      // libsql 0.5.29 ends the process when a text that it reads is no UTF-8, and cuts one at NUL: hence the BLOBs.
      const selected = columns.map((column) => (TEXTS.has(column) ? `CAST(${column} AS BLOB) AS ${column}` : column));
      return `SELECT ${selected.join(', ')} FROM ${task} WHERE task_id IN ${listed}`;
    },
    position: `SELECT max(id) AS last FROM ${task}`,
    newer: `SELECT id, CAST(task_id AS BLOB) AS task_id FROM ${task} WHERE id > ? ORDER BY id`,
    forget: `DELETE FROM ${task} WHERE task_id IN ${listed}`,
    saveGroup: `INSERT INTO ${group} (taskset_id, result, date_done) VALUES (?, ?, ?) ON CONFLICT (taskset_id) DO UPDATE SET result = excluded.result, date_done = excluded.date_done`,
    loadGroup: `SELECT result FROM ${group} WHERE taskset_id = ?`,
    forgetGroup: `DELETE FROM ${group} WHERE taskset_id = ?`,
    expireTasks: `DELETE FROM ${task} WHERE id IN (SELECT id FROM ${task} WHERE date_done < ? LIMIT ?)`,
    expireGroups: `DELETE FROM ${group} WHERE id IN (SELECT id FROM ${group} WHERE date_done < ? LIMIT ?)`,
  };
}
