import { type MongoLink, SURE } from '@lovage/mongodb';
import { type LovageError, READY_STATES } from '@lovage/core/backend';
import { type Document, MongoServerError } from 'mongodb';

const MAX_BATCH = 1000;
/** A command holds 16 MiB; a single larger document still goes, alone. */
const MAX_BATCH_BYTES = 4 * 1024 * 1024;
/** `DuplicateKey`. */
const DUPLICATE = 11_000;
/** How often a state meets another process that makes the same document, before the one that is there stays. */
const ATTEMPTS = 3;

interface Writing {
  readonly document: Document;
  readonly at: number;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Writes states one batch after the other, so that two of one task keep their order; what comes while a batch is under
 * way goes with the next. A SUCCESS is never replaced, nor an end by a state of before it: the filter does not find it, and
 * making another document of its id is refused, in one step on the server.
 */
export class StateWriter {
  readonly #link: MongoLink;
  readonly #collection: string;
  #waiting: Writing[] = [];
  #running: Promise<void> | undefined;

  constructor(link: MongoLink, collection: string) {
    this.#link = link;
    this.#collection = collection;
  }

  /** `at`: when the task was in this state, epoch milliseconds. */
  write(document: Document, at: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ document, at, resolve, reject });
      this.#running ??= this.#run();
    });
  }

  /** Resolves when nothing is under way. */
  async flushed(): Promise<void> {
    await this.#running;
  }

  async #run(): Promise<void> {
    // What is stored within one turn goes together.
    await new Promise((resolve) => setImmediate(resolve));
    while (this.#waiting.length > 0) {
      const batch = this.#next();
      try {
        await this.#send(batch, ATTEMPTS);
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    this.#running = undefined;
  }

  #next(): readonly Writing[] {
    let bytes = 0;
    let count = 0;
    for (const { document } of this.#waiting) {
      bytes += sizeOf(document);
      if (count > 0 && (count >= MAX_BATCH || bytes > MAX_BATCH_BYTES)) break;
      count++;
    }
    return this.#waiting.splice(0, count);
  }

  async #send(batch: readonly Writing[], attempts: number): Promise<void> {
    const refused = await this.#update(batch);
    const again: Writing[] = [];
    for (const [index, writing] of batch.entries()) {
      const error = refused.get(index);
      if (error === undefined) writing.resolve();
      else if (error !== 'exists') writing.reject(error);
      else if (attempts <= 1) writing.resolve();
      else again.push(writing);
    }
    // There is a document now: a SUCCESS, or one that another process made at the same moment.
    if (again.length > 0) await this.#send(again, attempts - 1);
  }

  async #update(batch: readonly Writing[]): Promise<ReadonlyMap<number, LovageError | 'exists'>> {
    const reply = await this.#link.call(() =>
      this.#link.db.command({
        update: this.#collection,
        updates: batch.map(({ document, at }) => ({
          q: { _id: document._id as unknown, ...replaceable(document, at) },
          u: document,
          upsert: true,
        })),
        ordered: false,
        writeConcern: SURE,
      }),
    );
    const { writeErrors = [], writeConcernError } = reply as { writeErrors?: Document[]; writeConcernError?: Document };
    if (writeConcernError !== undefined) throw this.#error(writeConcernError);
    return new Map(
      writeErrors.map((error) => [Number(error.index), error.code === DUPLICATE ? 'exists' : this.#error(error)]),
    );
  }

  #error({ code, codeName, errmsg }: Document): LovageError {
    return this.#link.error(new MongoServerError({ code, codeName, message: String(errmsg) }));
  }
}

/** What a document has to be for this one to replace it. */
function replaceable({ status }: Document, at: number): Document {
  if (READY_STATES.has(String(status))) return { status: { $ne: 'SUCCESS' } };
  const laterEnd = { status: { $in: ['FAILURE', 'REVOKED'] }, date_done: { $gte: new Date(at) } };
  return { $nor: [{ status: 'SUCCESS' }, laterEnd] };
}

function sizeOf({ result }: Document): number {
  return typeof result === 'string' ? result.length : ((result as { length?: () => number } | null)?.length?.() ?? 0);
}
