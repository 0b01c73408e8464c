import type { SqlDatabase, SqlTransaction } from '@lovage/sql';
import type { TaskRow } from './task-row.ts';

/** Celery's two tables in one SQL dialect. */
export interface ResultTables {
  /** Rows become visible in the order of their numbers, so that {@link newTaskIds} finds all that is new. */
  readonly showsInOrder: boolean;
  /** Creates what is missing and looks at what is there. */
  prepare(database: SqlDatabase): Promise<void>;
  /**
   * The row as the columns can hold it: texts for people are cut, the time of no end is before it. Throws `EncodeError` when its id or result does not
   * fit.
   */
  fit(row: TaskRow): TaskRow;
  /** The same for a saved group, of which nothing can be cut. */
  fitGroup(groupId: string, pickle: Uint8Array): void;
  /** In the order given. Leaves a stored SUCCESS alone, and an end that is later than a row that is none. */
  store(transaction: SqlTransaction, rows: readonly TaskRow[]): Promise<void>;
  load(database: SqlDatabase, taskIds: readonly string[]): Promise<readonly TaskRow[]>;
  /** Where {@link newTaskIds} begins: what is stored from now on. */
  position(database: SqlDatabase): Promise<number>;
  /** Ids of the tasks whose first state was stored after `position`, and the position after them. */
  newTaskIds(
    database: SqlDatabase,
    position: number,
  ): Promise<{ readonly taskIds: readonly string[]; readonly position: number }>;
  forget(transaction: SqlTransaction, taskIds: readonly string[]): Promise<void>;
  saveGroup(transaction: SqlTransaction, groupId: string, pickle: Uint8Array, dateDone: string): Promise<void>;
  loadGroup(database: SqlDatabase, groupId: string): Promise<Uint8Array | undefined>;
  forgetGroup(transaction: SqlTransaction, groupId: string): Promise<void>;
  /** Removes at most `max` rows of each table that were done before. Rows removed. */
  removeExpired(transaction: SqlTransaction, before: string, max: number): Promise<number>;
}
