import { createHash, randomInt } from 'node:crypto';
import { MessageTooLargeError, type StoredBinding } from '@lovage/core/transport';
import {
  columnsOf,
  createMissing,
  type InsertStatement,
  numbersItself,
  type SchemaItem,
  type SqlCondition,
  type SqlDatabase,
  type SqlGrammar,
  type SqlTransaction,
} from '@lovage/sql';
import type { Census, ClaimedRow, Outlook, QueueTables } from '../tables.ts';

/** The consumer of a claim that nobody holds: it only keeps the number of deliveries. */
const NOBODY = 0;
/** Numbers in one list of a statement. */
const LIST = 500;
/** Delayed messages that enter their queues in one transaction. */
const DUE_AT_ONCE = 500;
/** Room for the delivery tag, which is written into the envelope last. */
const TAG_BYTES = 128;

/**
 * PostgreSQL, MySQL, MariaDB and Oracle. The first two tables, their indexes and sequences are what SQLAlchemy makes of
 * Kombu's models, so that either side may create them.
 *
 * Whoever changes claims of a consumer locks the consumer's row first, so that a consumer that works and one that
 * declares it dead never do so at the same time; the second one passes over a row that is locked. Rows of messages are
 * taken with SKIP LOCKED: nobody waits for anybody.
 *
 * Source: kombu/transport/sqlalchemy/models.py.
 */
export class ServerQueueTables implements QueueTables {
  maxPayloadBytes = 0;
  protected readonly grammar: SqlGrammar;
  protected readonly names: TableNames;
  #sql: ReturnType<typeof statements>;

  constructor(grammar: SqlGrammar, queueTable: string, messageTable: string) {
    this.grammar = grammar;
    this.names = tableNames(grammar, queueTable, messageTable);
    this.#sql = statements(grammar, this.names, false, false);
  }

  async create(database: SqlDatabase): Promise<void> {
    const { grammar, names } = this;
    await createMissing(database, grammar, schemaOf(grammar, names));
    const [queueColumns, messageColumns] = await Promise.all([
      columnsOf(database, grammar, names.queueTable),
      columnsOf(database, grammar, names.messageTable),
    ]);
    this.#sql = statements(grammar, names, numbersItself(queueColumns), numbersItself(messageColumns));
    const limits = [
      messageColumns.find(({ name }) => name === 'payload')?.bytes ?? 0,
      database.maxStatementBytes,
    ].filter((bytes) => bytes > 0);
    this.maxPayloadBytes = limits.length === 0 ? 0 : Math.max(1, Math.min(...limits) - TAG_BYTES);
  }

  async ensureQueue(transaction: SqlTransaction, name: string): Promise<void> {
    await this.#queueId(transaction, name);
  }

  async removeQueue(transaction: SqlTransaction, name: string): Promise<void> {
    const id = await this.#findQueue(transaction, name);
    if (id !== undefined) {
      // MySQL makes a DELETE with a SELECT in it read the whole table: hence the numbers.
      const ids = (await transaction.query<{ id: number }>(this.#sql.messagesOf, [id])).map((row) => row.id);
      await this.#inParts(ids, async (part) => {
        await this.#executeFor(transaction, this.#sql.deleteClaims, 'message_id', part);
        await this.#executeFor(transaction, this.#sql.deleteMessages, 'id', part);
      });
      await transaction.execute(this.#sql.deleteDelayed, [id]);
    }
    await transaction.execute(this.#sql.deleteBindings, [name]);
    await transaction.execute(this.#sql.deleteExpiry, [name]);
    if (id !== undefined) await transaction.execute(this.#sql.deleteQueue, [id]);
  }

  async insert(transaction: SqlTransaction, queue: string, payloads: readonly string[]): Promise<void> {
    const texts = payloads.map((payload) => this.#stored(payload));
    const queueId = await this.#queueId(transaction, queue);
    await transaction.insert(
      this.#sql.insertMessage,
      texts.map((text) => [text, queueId]),
    );
  }

  async insertDelayed(transaction: SqlTransaction, queue: string, payload: string, dueAt: number): Promise<void> {
    const text = this.#stored(payload);
    const queueId = await this.#queueId(transaction, queue);
    await transaction.insert(this.#sql.insertDelay, [[queueId, text, dueAt]]);
  }

  async outlook(database: SqlDatabase, queues: readonly string[], now: number): Promise<Outlook> {
    const named = this.grammar.isOneOfTexts('name', queues);
    const [row] = await database.query<{ ready: number; due: number | null }>(
      this.#sql.outlook(named.sql),
      named.parameters,
    );
    const due = row?.due ?? undefined;
    return { ready: row?.ready === 1 || (due !== undefined && due <= now), nextDueAt: due };
  }

  async releaseDue(transaction: SqlTransaction, now: number): Promise<void> {
    const due = await transaction.query<{ id: number; queue_id: number; payload: string }>(
      this.#sql.lockDue(DUE_AT_ONCE),
      [now],
      DUE_AT_ONCE,
    );
    if (due.length === 0) return;
    // The queue may have been removed while its delayed message was written, which then goes the same way.
    const present = new Set<number>();
    await this.#inParts([...new Set(due.map(({ queue_id: queueId }) => queueId))], async (part) => {
      const { sql, parameters } = this.grammar.isOneOf('id', part);
      for (const { id } of await transaction.query<{ id: number }>(this.#sql.queues(sql), parameters)) present.add(id);
    });
    const wanted = due.filter(({ queue_id: queueId }) => present.has(queueId));
    if (wanted.length > 0) {
      await transaction.insert(
        this.#sql.insertMessage,
        wanted.map(({ queue_id: queueId, payload }) => [payload, queueId]),
      );
    }
    await this.#executeFor(
      transaction,
      this.#sql.deleteDue,
      'id',
      due.map(({ id }) => id),
    );
  }

  async claim(
    transaction: SqlTransaction,
    queue: string,
    max: number,
    consumer: number,
  ): Promise<readonly ClaimedRow[]> {
    const rows = await transaction.query<{ id: number; payload: string }>(this.#sql.lockReady(max), [queue], max);
    if (rows.length === 0) return [];
    const ids = rows.map(({ id }) => id);
    const counts = new Map<number, number>();
    await this.#inParts(ids, async (part) => {
      await this.#executeFor(transaction, this.#sql.hide, 'id', part);
      await transaction.insert(
        this.#sql.recordClaim,
        part.map((id) => [id, consumer]),
      );
      const listed = this.grammar.isOneOf('message_id', part);
      for (const row of await transaction.query<{ message_id: number; deliveries: number }>(
        this.#sql.repeated(listed.sql),
        listed.parameters,
      )) {
        counts.set(row.message_id, row.deliveries);
      }
    });
    return rows.map(({ id, payload }) => ({ id, payload, deliveries: counts.get(id) ?? 1 }));
  }

  async ack(transaction: SqlTransaction, consumer: number, ids: readonly number[]): Promise<void> {
    await this.#inParts(await this.#held(transaction, consumer, ids), async (part) => {
      await this.#executeFor(transaction, this.#sql.deleteMessages, 'id', part);
      await this.#executeFor(transaction, this.#sql.deleteClaims, 'message_id', part);
    });
  }

  async requeue(transaction: SqlTransaction, consumer: number, ids: readonly number[]): Promise<void> {
    await this.#giveBack(transaction, await this.#held(transaction, consumer, ids));
  }

  async registerConsumer(transaction: SqlTransaction, leaseUntil: number, process: string): Promise<number> {
    // Drawn, not counted: no number is ever given again, and no dialect has to say what it has counted.
    const id = randomInt(1, 2 ** 47);
    await transaction.insert(this.#sql.insertConsumer, [[id, leaseUntil, process]]);
    return id;
  }

  async renewLease(transaction: SqlTransaction, consumer: number, leaseUntil: number): Promise<boolean> {
    return (await transaction.execute(this.#sql.renewLease, [leaseUntil, consumer])) === 1;
  }

  async isAlive(transaction: SqlTransaction, consumer: number): Promise<boolean> {
    return (await transaction.query(this.#sql.lockConsumer, [consumer])).length === 1;
  }

  async retireConsumer(transaction: SqlTransaction, consumer: number): Promise<void> {
    if (!(await this.isAlive(transaction, consumer))) return;
    const claims = await transaction.query(this.#sql.anyClaim, [consumer], 1);
    if (claims.length === 0) await transaction.execute(this.#sql.deleteConsumer, [consumer]);
  }

  async census(database: SqlDatabase, now: number): Promise<Census> {
    const consumers = await database.query<{ id: number; lease_until: number; process: string }>(this.#sql.consumers);
    const expired = await database.query(this.#sql.expiredQueues, [now]);
    return {
      consumers: consumers.map(({ id, lease_until: leaseUntil, process }) => ({ id, leaseUntil, process })),
      hasExpiredQueue: expired.length > 0,
    };
  }

  async reap(
    transaction: SqlTransaction,
    now: number,
    expired: readonly number[],
    dead: readonly number[],
  ): Promise<number> {
    let released = 0;
    for (const [ids, before] of [
      [expired, now],
      // Their clock has stopped, whatever it said.
      [dead, Number.MAX_SAFE_INTEGER],
    ] as const) {
      for (const id of ids) {
        const [gone] = await transaction.query(this.#sql.lockGone, [id, before], 1);
        if (gone === undefined) continue;
        const held = await transaction.query<{ message_id: number }>(this.#sql.claimsOf, [id]);
        await this.#giveBack(
          transaction,
          held.map((row) => row.message_id),
        );
        released += held.length;
        await transaction.execute(this.#sql.deleteConsumer, [id]);
      }
    }
    for (const { name } of await transaction.query<{ name: string }>(this.#sql.lockExpiredQueues, [now], LIST)) {
      await this.removeQueue(transaction, name);
    }
    return released;
  }

  async setQueueExpiry(transaction: SqlTransaction, name: string, expiresAt: number): Promise<void> {
    await transaction.insert(this.#sql.setQueueExpiry, [[name, expiresAt]]);
  }

  async renewQueueExpiry(
    transaction: SqlTransaction,
    names: readonly string[],
    expiresAt: number,
  ): Promise<readonly string[]> {
    const gone: string[] = [];
    for (const name of names) {
      if ((await transaction.execute(this.#sql.renewQueueExpiry, [expiresAt, name])) === 0) gone.push(name);
    }
    return gone;
  }

  async size(database: SqlDatabase, queue: string): Promise<number> {
    const [row] = await database.query<{ n: number }>(this.#sql.size, [queue, queue]);
    return row?.n ?? 0;
  }

  async purge(transaction: SqlTransaction, queue: string): Promise<number> {
    const queueId = await this.#findQueue(transaction, queue);
    if (queueId === undefined) return 0;
    let purged = await transaction.execute(this.#sql.deleteDelayed, [queueId]);
    for (;;) {
      const rows = await transaction.query<{ id: number }>(this.#sql.lockWaiting(LIST), [queueId], LIST);
      const ids = rows.map(({ id }) => id);
      if (ids.length === 0) return purged;
      await this.#executeFor(transaction, this.#sql.deleteClaims, 'message_id', ids);
      await this.#executeFor(transaction, this.#sql.deleteMessages, 'id', ids);
      purged += ids.length;
    }
  }

  async addBinding(transaction: SqlTransaction, exchange: string, binding: StoredBinding): Promise<void> {
    const { routingKey, pattern, queue } = binding;
    const id = bindingId(exchange, binding);
    await transaction.insert(this.#sql.insertBinding, [[id, exchange, queue, routingKey, pattern]]);
  }

  async removeBinding(transaction: SqlTransaction, exchange: string, binding: StoredBinding): Promise<void> {
    await transaction.execute(this.#sql.deleteBinding, [bindingId(exchange, binding)]);
  }

  async bindings(database: SqlDatabase, exchange: string): Promise<readonly StoredBinding[]> {
    const rows = await database.query<{ routing_key: string | null; pattern: string | null; queue: string }>(
      this.#sql.bindings,
      [exchange],
    );
    // Oracle keeps an empty text as NULL.
    return rows.map((row) => ({ routingKey: row.routing_key ?? '', pattern: row.pattern ?? '', queue: row.queue }));
  }

  /** In ASCII, as Kombu writes it, which every character set of a database can hold: in JSON all else is in strings. */
  #stored(payload: string): string {
    const text = payload.replace(
      /[\u0080-\uffff]/g,
      (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
    );
    const limit = this.maxPayloadBytes === 0 ? Number.POSITIVE_INFINITY : this.maxPayloadBytes + TAG_BYTES;
    if (text.length <= limit) return text;
    throw new MessageTooLargeError(
      `A message of ${text.length} bytes in its envelope is more than the ${limit} bytes that this database takes.`,
      { facts: { limitBytes: limit } },
    );
  }

  /** Those of the messages that this consumer still holds; its row is locked. */
  async #held(transaction: SqlTransaction, consumer: number, ids: readonly number[]): Promise<readonly number[]> {
    if (!(await this.isAlive(transaction, consumer))) return [];
    const held: number[] = [];
    await this.#inParts(ids, async (part) => {
      const listed = this.grammar.isOneOf('message_id', part);
      const rows = await transaction.query<{ message_id: number }>(this.#sql.heldOf(listed.sql), [
        ...listed.parameters,
        consumer,
      ]);
      held.push(...rows.map((row) => row.message_id));
    });
    return held;
  }

  async #giveBack(transaction: SqlTransaction, ids: readonly number[]): Promise<void> {
    await this.#inParts(ids, async (part) => {
      await this.#executeFor(transaction, this.#sql.show, 'id', part);
      await this.#executeFor(transaction, this.#sql.freeClaims, 'message_id', part);
    });
  }

  async #executeFor(
    transaction: SqlTransaction,
    statement: (condition: string) => string,
    column: string,
    ids: readonly number[],
  ): Promise<void> {
    await this.#inParts(ids, async (part) => {
      const { sql, parameters }: SqlCondition = this.grammar.isOneOf(column, part);
      await transaction.execute(statement(sql), parameters);
    });
  }

  async #inParts(ids: readonly number[], work: (part: readonly number[]) => Promise<void>): Promise<void> {
    for (let from = 0; from < ids.length; from += LIST) await work(ids.slice(from, from + LIST));
  }

  async #findQueue(transaction: SqlTransaction, name: string): Promise<number | undefined> {
    const [found] = await transaction.query<{ id: number }>(this.#sql.findQueue, [name]);
    return found?.id;
  }

  async #queueId(transaction: SqlTransaction, name: string): Promise<number> {
    const found = await this.#findQueue(transaction, name);
    if (found !== undefined) return found;
    // Somebody else may create it at this moment: then his is found.
    await transaction.insert(this.#sql.insertQueue, [[name]]);
    return (await this.#findQueue(transaction, name)) as number;
  }
}

function bindingId(exchange: string, { queue, routingKey, pattern }: StoredBinding): string {
  return createHash('sha256')
    .update(JSON.stringify([exchange, queue, routingKey, pattern]))
    .digest('hex');
}

export interface TableNames {
  readonly queueTable: string;
  readonly messageTable: string;
  readonly prefix: string;
  readonly queue: string;
  readonly message: string;
  readonly consumer: string;
  readonly claim: string;
  readonly delay: string;
  readonly binding: string;
  readonly expiry: string;
}

function tableNames({ quote }: SqlGrammar, queueTable: string, messageTable: string): TableNames {
  // Message ids are unique within one table of messages only.
  const prefix = messageTable === 'kombu_message' ? 'lovage' : `lovage_${messageTable}`;
  return {
    queueTable,
    messageTable,
    prefix,
    queue: quote(queueTable),
    message: quote(messageTable),
    consumer: quote(`${prefix}_consumer`),
    claim: quote(`${prefix}_claim`),
    delay: quote(`${prefix}_delay`),
    binding: quote(`${prefix}_binding`),
    expiry: quote(`${prefix}_queue_expiry`),
  };
}

/** In the order of creation: names of SQLAlchemy's making where they are Kombu's; every other one starts with `lovage`. */
function schemaOf(grammar: SqlGrammar, names: TableNames): readonly SchemaItem[] {
  const { queue, message, queueTable, messageTable, prefix } = names;
  const { name, text, integer } = grammar.types;
  const end = grammar.tableEnd;
  const kombu = KOMBU_TYPES[grammar.product as keyof typeof KOMBU_TYPES];
  const sequence = (sequenceName: string) =>
    grammar.nextOf(sequenceName) === undefined
      ? []
      : [{ name: sequenceName, statement: `CREATE SEQUENCE ${grammar.quote(sequenceName)}` }];
  const index = (indexName: string, table: string, columns: string) => ({
    name: indexName,
    statement: `CREATE INDEX ${grammar.quote(indexName)} ON ${table} (${columns})`,
  });
  const table = (tableName: string, columns: readonly string[]) => ({
    name: tableName,
    statement: `CREATE TABLE ${grammar.quote(tableName)} (${columns.join(', ')})${end}`,
  });
  return [
    ...sequence('queue_id_sequence'),
    table(queueTable, [
      `id INTEGER NOT NULL${kombu.numbered}`,
      `name ${kombu.name}`,
      'PRIMARY KEY (id)',
      'UNIQUE (name)',
    ]),
    ...sequence('message_id_sequence'),
    table(messageTable, [
      `id INTEGER NOT NULL${kombu.numbered}`,
      `visible ${kombu.visible}`,
      `timestamp ${kombu.timestamp}`,
      `payload ${kombu.payload} NOT NULL`,
      'version SMALLINT NOT NULL',
      'queue_id INTEGER',
      'PRIMARY KEY (id)',
      // Kombu gives the constraint one name, whatever the table is called; MySQL and Oracle take each name once.
      `CONSTRAINT ${grammar.quote(`FK_${messageTable}_queue`)} FOREIGN KEY(queue_id) REFERENCES ${queue} (id)`,
    ]),
    // One name, whatever the table is called: a second table of messages goes without, as it does with Kombu.
    index('ix_kombu_message_timestamp_id', message, 'timestamp, id'),
    index(`ix_${messageTable}_visible`, message, 'visible'),
    index(`ix_${messageTable}_timestamp`, message, 'timestamp'),
    { name: `${prefix}_ready`, statement: grammar.readyIndex(grammar.quote(`${prefix}_ready`), message) },
    table(`${prefix}_consumer`, [
      `id ${integer} NOT NULL`,
      `lease_until ${integer} NOT NULL`,
      `process ${name} NOT NULL`,
      'PRIMARY KEY (id)',
    ]),
    table(`${prefix}_claim`, [
      `message_id ${integer} NOT NULL`,
      `consumer ${integer} NOT NULL`,
      'deliveries INTEGER NOT NULL',
      'PRIMARY KEY (message_id)',
    ]),
    index(`${prefix}_claim_consumer`, names.claim, 'consumer'),
    table(`${prefix}_delay`, [
      `id ${grammar.serial}`,
      'queue_id INTEGER NOT NULL',
      `payload ${text} NOT NULL`,
      `due_at ${integer} NOT NULL`,
    ]),
    index(`${prefix}_delay_due_at`, names.delay, 'due_at, id'),
    table(`${prefix}_binding`, [
      'id CHAR(64) NOT NULL',
      `exchange ${name} NOT NULL`,
      `queue ${name} NOT NULL`,
      `routing_key ${text}`,
      `pattern ${text}`,
      'PRIMARY KEY (id)',
    ]),
    index(`${prefix}_binding_exchange`, names.binding, 'exchange'),
    table(`${prefix}_queue_expiry`, [`name ${name} NOT NULL`, `expires_at ${integer} NOT NULL`, 'PRIMARY KEY (name)']),
  ];
}

/** What SQLAlchemy makes of the types in Kombu's models. */
const KOMBU_TYPES = {
  postgresql: {
    numbered: '',
    name: 'VARCHAR(200)',
    visible: 'BOOLEAN',
    timestamp: 'TIMESTAMP WITHOUT TIME ZONE',
    payload: 'TEXT',
  },
  mysql: { numbered: ' AUTO_INCREMENT', name: 'VARCHAR(200)', visible: 'BOOL', timestamp: 'DATETIME', payload: 'TEXT' },
  mariadb: { numbered: '', name: 'VARCHAR(200)', visible: 'BOOL', timestamp: 'DATETIME', payload: 'TEXT' },
  oracle: { numbered: '', name: 'VARCHAR2(200 CHAR)', visible: 'SMALLINT', timestamp: 'DATE', payload: 'CLOB' },
} as const;

function statements(grammar: SqlGrammar, names: TableNames, queueNumbers: boolean, messageNumbers: boolean) {
  const { queue, message, consumer, claim, delay, binding, expiry } = names;
  const { yes, no } = grammar;
  const queueId = `(SELECT id FROM ${queue} WHERE name = ?)`;
  const isReady = `visible = ${yes} AND queue_id = ${queueId}`;
  // A column that numbers itself is left out; Oracle and PostgreSQL have a sequence in SQLAlchemy's layout.
  const idOf = (isNumbered: boolean, sequence: string): string | undefined =>
    isNumbered ? undefined : grammar.nextOf(grammar.quote(sequence));
  const messageId = idOf(messageNumbers, 'message_id_sequence');
  const newQueueId = idOf(queueNumbers, 'queue_id_sequence');
  const insertMessage: InsertStatement = {
    into: `INSERT INTO ${message} (${messageId === undefined ? '' : 'id, '}visible, timestamp, payload, version, queue_id) VALUES `,
    row: `(${messageId === undefined ? '' : `${messageId}, `}${yes}, NULL, ?, 1, ?)`,
  };
  return {
    insertMessage,
    findQueue: `SELECT id FROM ${queue} WHERE name = ?`,
    insertQueue: grammar.insertNew(
      queue,
      [...(newQueueId === undefined ? [] : [{ name: 'id', value: newQueueId }]), { name: 'name' }],
      ['name'],
    ),
    queues: (listed: string): string => `SELECT id FROM ${queue} WHERE ${listed}`,
    deleteQueue: `DELETE FROM ${queue} WHERE id = ?`,
    messagesOf: `SELECT id FROM ${message} WHERE queue_id = ?`,
    insertDelay: { into: `INSERT INTO ${delay} (queue_id, payload, due_at) VALUES `, row: '(?, ?, ?)' },
    outlook: (named: string): string =>
      `SELECT CASE WHEN EXISTS (SELECT 1 FROM ${message} WHERE visible = ${yes} AND queue_id IN (SELECT id FROM ${queue} WHERE ${named})) THEN 1 ELSE 0 END AS ready, (SELECT MIN(due_at) FROM ${delay}) AS due${grammar.dual}`,
    lockDue: (count: number): string =>
      grammar.lockFirst(`SELECT id, queue_id, payload FROM ${delay} WHERE due_at <= ? ORDER BY due_at, id`, count),
    deleteDue: (listed: string): string => `DELETE FROM ${delay} WHERE ${listed}`,
    lockReady: (count: number): string =>
      grammar.lockFirst(`SELECT id, payload FROM ${message} WHERE ${isReady} ORDER BY id`, count),
    lockWaiting: (count: number): string =>
      grammar.lockFirst(`SELECT id FROM ${message} WHERE visible = ${yes} AND queue_id = ? ORDER BY id`, count),
    hide: (listed: string): string => `UPDATE ${message} SET visible = ${no}, version = version + 1 WHERE ${listed}`,
    // A timestamp on a visible row would move it: Kombu orders by it.
    show: (listed: string): string =>
      `UPDATE ${message} SET visible = ${yes}, timestamp = NULL, version = version + 1 WHERE ${listed}`,
    recordClaim: grammar.upsert(claim, {
      columns: [{ name: 'message_id' }, { name: 'consumer' }, { name: 'deliveries', value: '1' }],
      key: 'message_id',
      update: (stored, given) => [
        ['consumer', given('consumer')],
        ['deliveries', `${stored('deliveries')} + 1`],
      ],
    }),
    repeated: (listed: string): string =>
      `SELECT message_id, deliveries FROM ${claim} WHERE ${listed} AND deliveries > 1`,
    heldOf: (listed: string): string => `SELECT message_id FROM ${claim} WHERE ${listed} AND consumer = ?`,
    claimsOf: `SELECT message_id FROM ${claim} WHERE consumer = ?`,
    anyClaim: grammar.first(`SELECT message_id FROM ${claim} WHERE consumer = ?`, 1),
    deleteMessages: (listed: string): string => `DELETE FROM ${message} WHERE ${listed}`,
    deleteClaims: (listed: string): string => `DELETE FROM ${claim} WHERE ${listed}`,
    freeClaims: (listed: string): string => `UPDATE ${claim} SET consumer = ${NOBODY} WHERE ${listed}`,
    insertConsumer: { into: `INSERT INTO ${consumer} (id, lease_until, process) VALUES `, row: '(?, ?, ?)' },
    renewLease: `UPDATE ${consumer} SET lease_until = ? WHERE id = ?`,
    lockConsumer: `SELECT id FROM ${consumer} WHERE id = ? FOR UPDATE`,
    lockGone: grammar.lockFirst(`SELECT id FROM ${consumer} WHERE id = ? AND lease_until < ?`, 1),
    deleteConsumer: `DELETE FROM ${consumer} WHERE id = ?`,
    consumers: `SELECT id, lease_until, process FROM ${consumer}`,
    expiredQueues: `SELECT name FROM ${expiry} WHERE expires_at < ?`,
    lockExpiredQueues: grammar.lockFirst(`SELECT name FROM ${expiry} WHERE expires_at < ?`, LIST),
    setQueueExpiry: grammar.upsert(expiry, {
      columns: [{ name: 'name' }, { name: 'expires_at' }],
      key: 'name',
      update: (_, given) => [['expires_at', given('expires_at')]],
    }),
    renewQueueExpiry: `UPDATE ${expiry} SET expires_at = ? WHERE name = ?`,
    deleteExpiry: `DELETE FROM ${expiry} WHERE name = ?`,
    size: `SELECT (SELECT COUNT(*) FROM ${message} WHERE ${isReady}) + (SELECT COUNT(*) FROM ${delay} WHERE queue_id = ${queueId}) AS n${grammar.dual}`,
    deleteDelayed: `DELETE FROM ${delay} WHERE queue_id = ?`,
    insertBinding: grammar.insertNew(
      binding,
      [{ name: 'id' }, { name: 'exchange' }, { name: 'queue' }, { name: 'routing_key' }, { name: 'pattern' }],
      ['id'],
    ),
    deleteBinding: `DELETE FROM ${binding} WHERE id = ?`,
    deleteBindings: `DELETE FROM ${binding} WHERE queue = ?`,
    bindings: `SELECT routing_key, pattern, queue FROM ${binding} WHERE exchange = ?`,
  };
}
