import { grammarOf, type SqlTransaction } from '@lovage/sql';
import type { ClaimedRow } from '../tables.ts';
import { ServerQueueTables } from './server.ts';

/** PostgreSQL, which does in one statement what others need several for. */
export class PostgresqlQueueTables extends ServerQueueTables {
  readonly #claimSql: string;
  readonly #ackSql: string;

  constructor(queueTable: string, messageTable: string) {
    super(grammarOf('postgresql'), queueTable, messageTable);
    const { queue, message, claim, consumer } = this.names;
    this.#claimSql = `WITH taken AS (SELECT id FROM ${message} WHERE visible AND queue_id = (SELECT id FROM ${queue} WHERE name = ?) ORDER BY id LIMIT ? FOR UPDATE SKIP LOCKED), hidden AS (UPDATE ${message} AS m SET visible = false, version = version + 1 FROM taken WHERE m.id = taken.id RETURNING m.id, m.payload), claimed AS (INSERT INTO ${claim} AS c (message_id, consumer, deliveries) SELECT id, CAST(? AS bigint), 1 FROM taken ON CONFLICT (message_id) DO UPDATE SET consumer = excluded.consumer, deliveries = c.deliveries + 1 RETURNING message_id, deliveries) SELECT hidden.id, hidden.payload, claimed.deliveries FROM hidden JOIN claimed ON claimed.message_id = hidden.id ORDER BY hidden.id`;
    this.#ackSql = `WITH mine AS (SELECT id FROM ${consumer} WHERE id = ? FOR UPDATE), freed AS (DELETE FROM ${claim} AS c USING mine WHERE c.message_id = ANY(CAST(? AS bigint[])) AND c.consumer = mine.id RETURNING c.message_id) DELETE FROM ${message} AS m USING freed WHERE m.id = freed.message_id`;
  }

  override claim(
    transaction: SqlTransaction,
    queue: string,
    max: number,
    consumer: number,
  ): Promise<readonly ClaimedRow[]> {
    return transaction.query<ClaimedRow & Record<string, never>>(this.#claimSql, [queue, max, consumer]);
  }

  override async ack(transaction: SqlTransaction, consumer: number, ids: readonly number[]): Promise<void> {
    await transaction.execute(this.#ackSql, [consumer, `{${ids.join(',')}}`]);
  }
}
