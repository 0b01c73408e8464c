import type { RunCommandCursor } from 'mongodb';
import type { MongoLink } from './link.ts';

/** The server ended a cursor that waits for more: its collection is empty or gone, or it was overtaken. */
export class CursorEndedError extends Error {
  override readonly name = 'CursorEndedError';
}

/** A cursor that waits on the server for what comes: of a change stream, or a tailable one. One call at a time. */
export class AwaitCursor<T> {
  readonly #link: MongoLink;
  readonly #cursor: RunCommandCursor;

  /** Nothing is sent before the first {@link next}. */
  constructor(link: MongoLink, cursor: RunCommandCursor) {
    this.#link = link;
    this.#cursor = cursor;
  }

  /**
   * What has come, waiting on the server up to `awaitMs` for the first; empty when nothing did. Rejects with
   * {@link CursorEndedError} when the cursor has no more to give, ever.
   */
  async next(awaitMs: number): Promise<readonly T[]> {
    if (this.#cursor.closed) throw new CursorEndedError('The cursor is closed.');
    this.#cursor.setMaxTimeMS(awaitMs);
    const first = (await this.#link.call(() => this.#cursor.tryNext())) as T | null;
    if (first !== null) return [first, ...(this.#cursor.readBufferedDocuments() as T[])];
    if (this.#cursor.closed || this.#cursor.id?.isZero() !== false) {
      throw new CursorEndedError('The server has closed the cursor.');
    }
    return [];
  }

  /** Never rejects. */
  async close(): Promise<void> {
    await this.#cursor.close().catch(() => undefined);
  }
}
