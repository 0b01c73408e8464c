import { EncodeError } from '@lovage/core/backend';
import {
  type ColumnFacts,
  columnsOf,
  createMissing,
  numbersItself,
  type SchemaItem,
  type SqlDatabase,
  type SqlGrammar,
  type SqlTransaction,
} from '@lovage/sql';
import { inWholeSeconds, isKept, isReplaced } from '../rows.ts';
import type { ResultTables } from '../tables.ts';
import { TASK_COLUMNS, type TaskColumn, type TaskRow, toTaskRow } from '../task-row.ts';

const BLOBS = ['result', 'args', 'kwargs'] as const;
/** Ids, or numbers, in one list of a statement. */
const LIST = 500;
/** Characters of SQLAlchemy's `String(155)`: ids, and names for people. */
const NAME_CHARACTERS = 155;
const STATUS_CHARACTERS = 50;

export interface ResultTableNames {
  readonly task: string;
  readonly group: string;
  readonly taskSchema: string | undefined;
  readonly groupSchema: string | undefined;
}

/**
 * PostgreSQL, MySQL, MariaDB and Oracle. Tables, indexes and sequences are what SQLAlchemy makes of Celery's models, so
 * that either side may create them.
 *
 * Source: celery/backends/database/models.py.
 */
export class ServerResultTables implements ResultTables {
  /** Numbers are given before they are committed. */
  readonly showsInOrder = false;
  readonly #grammar: SqlGrammar;
  readonly #names: ResultTableNames;
  #sql: ReturnType<typeof statements>;
  #columns: readonly TaskColumn[] = TASK_COLUMNS;
  /** Bytes that a column takes; none of those without a limit. */
  #limits: ReadonlyMap<string, number> = new Map();
  #groupLimit = Number.POSITIVE_INFINITY;

  constructor(grammar: SqlGrammar, names: ResultTableNames) {
    this.#grammar = grammar;
    this.#names = names;
    this.#sql = statements(grammar, names, TASK_COLUMNS, false, false);
  }

  async prepare(database: SqlDatabase): Promise<void> {
    const grammar = this.#grammar;
    const names = this.#names;
    await createMissing(database, grammar, schemaOf(grammar, names));
    const tasks = await columnsOf(database, grammar, names.task, names.taskSchema);
    const groups = await columnsOf(database, grammar, names.group, names.groupSchema);
    // A table that an older Celery made may lack the columns of `result_extended`.
    const present = new Set(tasks.map(({ name }) => name));
    this.#columns = TASK_COLUMNS.filter((column) => present.has(column));
    this.#sql = statements(grammar, names, this.#columns, numbersItself(tasks), numbersItself(groups));
    const most = database.maxStatementBytes === 0 ? Number.POSITIVE_INFINITY : database.maxStatementBytes;
    const limit = ({ bytes }: ColumnFacts): number => (bytes > 0 ? Math.min(bytes, most) : most);
    this.#limits = new Map(tasks.map((column) => [column.name, limit(column)]));
    const group = groups.find(({ name }) => name === 'result');
    this.#groupLimit = group === undefined ? most : limit(group);
  }

  fit(row: TaskRow): TaskRow {
    if (row.task_id.length > NAME_CHARACTERS) {
      throw new EncodeError(
        `The task id ${JSON.stringify(row.task_id.slice(0, 40))}... has ${row.task_id.length} characters. Expected at most ${NAME_CHARACTERS}, as Celery's table takes.`,
      );
    }
    const cut = (text: string | null): string | null => text?.slice(0, NAME_CHARACTERS) ?? null;
    for (const column of BLOBS) this.#checkBytes(row[column], this.#limits.get(column), `"${column}" of a task`);
    return {
      ...(CELERY_TYPES[this.#grammar.product as keyof typeof CELERY_TYPES].roundsTimes ? inWholeSeconds(row) : row),
      status: row.status?.slice(0, STATUS_CHARACTERS) ?? null,
      name: cut(row.name),
      worker: cut(row.worker),
      queue: cut(row.queue),
      traceback: cutBytes(row.traceback, this.#limits.get('traceback') ?? Number.POSITIVE_INFINITY),
    };
  }

  fitGroup(groupId: string, pickle: Uint8Array): void {
    if (groupId.length > NAME_CHARACTERS) {
      throw new EncodeError(
        `The group id has ${groupId.length} characters. Expected at most ${NAME_CHARACTERS}, as Celery's table takes.`,
      );
    }
    this.#checkBytes(pickle, this.#groupLimit, 'a saved group');
  }

  async store(transaction: SqlTransaction, rows: readonly TaskRow[]): Promise<void> {
    // One statement may not write a row twice: the last state of each counts, unless an end is kept.
    const last = new Map<string, TaskRow>();
    for (const row of rows) {
      const before = last.get(row.task_id);
      if (before === undefined || !isKept(before, row)) last.set(row.task_id, row);
    }
    // In one order for all who write, so that two of them do not wait for each other.
    const ordered = [...last.values()].sort((a, b) => (a.task_id < b.task_id ? -1 : 1));
    await transaction.insert(
      this.#sql.store,
      ordered.map((row) => this.#columns.map((column) => row[column])),
    );
  }

  async load(database: SqlDatabase, taskIds: readonly string[]): Promise<readonly TaskRow[]> {
    const rows: TaskRow[] = [];
    for (let from = 0; from < taskIds.length; from += LIST) {
      const { sql, parameters } = this.#grammar.isOneOfTexts('task_id', taskIds.slice(from, from + LIST));
      rows.push(...(await database.query(`${this.#sql.load}${sql}`, parameters)).map(toTaskRow));
    }
    return rows;
  }

  async position(): Promise<number> {
    return 0;
  }

  async newTaskIds(): Promise<{ taskIds: readonly string[]; position: number }> {
    return { taskIds: [], position: 0 };
  }

  async forget(transaction: SqlTransaction, taskIds: readonly string[]): Promise<void> {
    for (let from = 0; from < taskIds.length; from += LIST) {
      const { sql, parameters } = this.#grammar.isOneOfTexts('task_id', taskIds.slice(from, from + LIST));
      await transaction.execute(`${this.#sql.forget}${sql}`, parameters);
    }
  }

  async saveGroup(transaction: SqlTransaction, groupId: string, pickle: Uint8Array, dateDone: string): Promise<void> {
    await transaction.insert(this.#sql.saveGroup, [[groupId, pickle, dateDone]]);
  }

  async loadGroup(database: SqlDatabase, groupId: string): Promise<Uint8Array | undefined> {
    const [row] = await database.query<{ result: Uint8Array | null }>(this.#sql.loadGroup, [groupId]);
    return row?.result ?? undefined;
  }

  async forgetGroup(transaction: SqlTransaction, groupId: string): Promise<void> {
    await transaction.execute(this.#sql.forgetGroup, [groupId]);
  }

  async removeExpired(transaction: SqlTransaction, before: string, max: number): Promise<number> {
    let removed = 0;
    for (const { expired, remove } of this.#sql.expiry(max)) {
      const rows = await transaction.query<{ id: number }>(expired, [before], max);
      const ids = rows.map(({ id }) => id);
      for (let from = 0; from < ids.length; from += LIST) {
        const { sql, parameters } = this.#grammar.isOneOf('id', ids.slice(from, from + LIST));
        await transaction.execute(`${remove}${sql}`, parameters);
      }
      removed = Math.max(removed, ids.length);
    }
    return removed;
  }

  #checkBytes(value: Uint8Array | null, limit = Number.POSITIVE_INFINITY, what: string): void {
    if (value === null || value.byteLength <= limit) return;
    throw new EncodeError(
      `The column for ${what} takes ${limit} bytes, and ${value.byteLength} are to be stored. On MySQL and MariaDB "ALTER TABLE ... MODIFY ... LONGBLOB" makes room, for Python too.`,
      { facts: { limitBytes: limit } },
    );
  }
}

/** Whole characters, at most so many bytes. */
function cutBytes(text: string | null, limit: number): string | null {
  if (text === null || text.length * 3 <= limit || Buffer.byteLength(text) <= limit) return text;
  // A traceback says most at its end.
  const bytes = Buffer.from(text);
  return bytes
    .subarray(bytes.length - limit + 3)
    .toString('utf8')
    .replace(/^\ufffd+/, '');
}

function qualified({ quote }: SqlGrammar, owner: string | undefined, name: string): string {
  return owner === undefined ? quote(name) : `${quote(owner)}.${quote(name)}`;
}

/** What SQLAlchemy makes of the types in Celery's models. */
const CELERY_TYPES = {
  postgresql: {
    numbered: '',
    text: (characters: number) => `VARCHAR(${characters})`,
    blob: 'BYTEA',
    instant: 'TIMESTAMP WITHOUT TIME ZONE',
    long: 'TEXT',
    roundsTimes: false,
  },
  mysql: {
    numbered: ' AUTO_INCREMENT',
    text: (characters: number) => `VARCHAR(${characters})`,
    blob: 'BLOB',
    instant: 'DATETIME',
    long: 'TEXT',
    roundsTimes: true,
  },
  mariadb: {
    numbered: '',
    text: (characters: number) => `VARCHAR(${characters})`,
    blob: 'BLOB',
    instant: 'DATETIME',
    long: 'TEXT',
    roundsTimes: true,
  },
  oracle: {
    numbered: '',
    text: (characters: number) => `VARCHAR2(${characters} CHAR)`,
    blob: 'BLOB',
    instant: 'DATE',
    long: 'CLOB',
    roundsTimes: true,
  },
} as const;

/** In the order of creation. */
function schemaOf(grammar: SqlGrammar, names: ResultTableNames): readonly SchemaItem[] {
  const types = CELERY_TYPES[grammar.product as keyof typeof CELERY_TYPES];
  const name = types.text(NAME_CHARACTERS);
  const make = (
    table: string,
    owner: string | undefined,
    sequence: string,
    index: string,
    columns: readonly string[],
  ): readonly SchemaItem[] => {
    const full = qualified(grammar, owner, table);
    const all = [`id INTEGER NOT NULL${types.numbered}`, ...columns, 'PRIMARY KEY (id)'];
    const numbers = qualified(grammar, owner, sequence);
    return [
      ...(grammar.nextOf(numbers) === undefined
        ? []
        : [{ name: sequence, owner, statement: `CREATE SEQUENCE ${numbers}` }]),
      { name: table, owner, statement: `CREATE TABLE ${full} (${all.join(', ')})${grammar.tableEnd}` },
      // SQLAlchemy names an index when the class is made, before Celery renames the table.
      { name: index, owner, statement: `CREATE INDEX ${grammar.quote(index)} ON ${full} (date_done)` },
    ];
  };
  return [
    ...make(names.task, names.taskSchema, 'task_id_sequence', 'ix_celery_taskmeta_date_done', [
      `task_id ${name}`,
      `status ${types.text(STATUS_CHARACTERS)}`,
      `result ${types.blob}`,
      `date_done ${types.instant}`,
      `traceback ${types.long}`,
      `name ${name}`,
      `args ${types.blob}`,
      `kwargs ${types.blob}`,
      `worker ${name}`,
      'retries INTEGER',
      `queue ${name}`,
      'UNIQUE (task_id)',
    ]),
    ...make(names.group, names.groupSchema, 'taskset_id_sequence', 'ix_celery_tasksetmeta_date_done', [
      `taskset_id ${name}`,
      `result ${types.blob}`,
      `date_done ${types.instant}`,
      'UNIQUE (taskset_id)',
    ]),
  ];
}

function statements(
  grammar: SqlGrammar,
  names: ResultTableNames,
  columns: readonly string[],
  taskNumbers: boolean,
  groupNumbers: boolean,
) {
  const task = qualified(grammar, names.taskSchema, names.task);
  const group = qualified(grammar, names.groupSchema, names.group);
  const numberOf = (isNumbered: boolean, owner: string | undefined, sequence: string) => {
    const value = isNumbered ? undefined : grammar.nextOf(qualified(grammar, owner, sequence));
    return value === undefined ? [] : [{ name: 'id', value }];
  };
  const column = (name: string) => (name === 'date_done' ? { name, value: grammar.instant } : { name });
  const expired = (table: string, max: number): string =>
    grammar.lockFirst(`SELECT id FROM ${table} WHERE date_done < ${grammar.instant} ORDER BY id`, max);
  return {
    store: grammar.upsert(task, {
      columns: [...numberOf(taskNumbers, names.taskSchema, 'task_id_sequence'), ...columns.map(column)],
      key: 'task_id',
      // By the status it is decided whether a row is replaced: MySQL, which goes from left to right, changes it last.
      update: (_, given) =>
        [...columns.filter((name) => name !== 'task_id' && name !== 'status'), 'status'].map(
          (name) => [name, given(name)] as const,
        ),
      where: isReplaced,
    }),
    load: `SELECT ${columns.map((name) => (name === 'date_done' ? `${grammar.readInstant(name)} AS ${name}` : name)).join(', ')} FROM ${task} WHERE `,
    forget: `DELETE FROM ${task} WHERE `,
    saveGroup: grammar.upsert(group, {
      columns: [
        ...numberOf(groupNumbers, names.groupSchema, 'taskset_id_sequence'),
        ...['taskset_id', 'result', 'date_done'].map(column),
      ],
      key: 'taskset_id',
      update: (_, given) => ['result', 'date_done'].map((name) => [name, given(name)] as const),
    }),
    loadGroup: `SELECT result FROM ${group} WHERE taskset_id = ?`,
    forgetGroup: `DELETE FROM ${group} WHERE taskset_id = ?`,
    expiry: (max: number) =>
      [task, group].map((table) => ({ expired: expired(table, max), remove: `DELETE FROM ${table} WHERE ` })),
  };
}
