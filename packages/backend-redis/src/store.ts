import {
  isKept,
  isLovageError,
  type KeyFeed,
  type KeyValueStore,
  type KeyValueWrite,
  MessageTooLargeError,
  PreconditionFailedError,
  type ResultGuard,
  type StoredValue,
} from '@lovage/core/backend';
import { deferred, type RedisLink } from '@lovage/redis';
import { RedisChords } from './chords.ts';
import { RedisDocuments } from './documents.ts';
import { HOLDS_FAILURE, READ_THEN_WRITE, WRITE } from './scripts.ts';

/** One script writes at most so many results, or about so many bytes: Redis serves nobody else meanwhile. */
const MOST_PER_SCRIPT = 200;
const MOST_BYTES_PER_SCRIPT = 2 * 1024 * 1024;
const MOST_KEYS = 1000;
/** Redis takes no larger value. Source: celery/backends/redis.py, MAX_STR_VALUE_SIZE. */
const MOST_VALUE_BYTES = 512 * 1024 * 1024;

type Outcome = Error | undefined;

/** Results as Celery keeps them: a key each, SETEX, and the value published on a channel of the key's name. */
export class RedisStore implements KeyValueStore {
  readonly autoExpires = true;
  readonly lost: Promise<never>;
  readonly feed: KeyFeed;
  readonly chords: RedisChords;
  readonly documents: RedisDocuments;
  readonly #link: RedisLink;
  readonly #openFeed: () => Promise<RedisLink>;
  readonly #lose: (error: unknown) => void;
  readonly #listeners = new Map<string, (key: string, value: StoredValue) => void>();
  #feedLink: Promise<RedisLink> | undefined;
  /** Writes that have to be read first, one batch after the other. */
  #careful: Promise<unknown> = Promise.resolve();
  #head:
    | { readonly guard: ResultGuard | undefined; readonly args: readonly (string | number | Uint8Array)[] }
    | undefined;
  #isClosed = false;

  constructor(link: RedisLink, openFeed: () => Promise<RedisLink>, chordOrdered = true) {
    this.#link = link;
    this.chords = new RedisChords(link, chordOrdered);
    this.documents = new RedisDocuments(link);
    this.#openFeed = openFeed;
    const loss = deferred<never>();
    this.lost = loss.promise;
    this.lost.catch(() => undefined);
    // Both links have one life: what waits on the other is lost too, not closed.
    this.#lose = (error) => {
      loss.reject(error);
      link.fail(error);
      void this.#feedLink?.then((feed) => feed.fail(error)).catch(() => undefined);
    };
    link.lost.catch(this.#lose);
    this.feed = {
      watch: (keys, listener) => this.#watch(keys, listener),
      unwatch: (keys) => this.#unwatch(keys),
    };
  }

  async get(keys: readonly string[]): Promise<readonly (StoredValue | undefined)[]> {
    const parts = await Promise.all(chunks(keys).map((part) => this.#link.bytes('mget', part)));
    return parts.flatMap((part) => (part as readonly (Buffer | null)[]).map((value) => value ?? undefined));
  }

  async set(writes: readonly KeyValueWrite[]): Promise<readonly Outcome[]> {
    const guard = writes.find(({ guard }) => guard !== undefined)?.guard;
    if (guard?.marks.length === 0) return this.#setCarefully(writes);
    const outcomes: Outcome[] = Array.from({ length: writes.length });
    const running: Promise<void>[] = [];
    let from = 0;
    let bytes = 0;
    for (let index = 0; index < writes.length; index++) {
      const size = (writes[index] as KeyValueWrite).value.length;
      if (index > from && (index - from >= MOST_PER_SCRIPT || bytes + size > MOST_BYTES_PER_SCRIPT)) {
        running.push(this.#setPart(writes.slice(from, index), guard, outcomes, from));
        from = index;
        bytes = 0;
      }
      bytes += size;
    }
    if (from < writes.length)
      running.push(this.#setPart(from === 0 ? writes : writes.slice(from), guard, outcomes, from));
    await Promise.all(running);
    return outcomes;
  }

  async delete(keys: readonly string[]): Promise<void> {
    await Promise.all(chunks(keys).map((part) => this.#link.text('del', part)));
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#link.close();
    const feed = await this.#feedLink?.catch(() => undefined);
    feed?.close();
  }

  async #setPart(
    writes: readonly KeyValueWrite[],
    guard: ResultGuard | undefined,
    outcomes: Outcome[],
    offset: number,
  ): Promise<void> {
    const keys: string[] = [];
    const args: (string | number | Uint8Array)[] = [];
    const positions: number[] = [];
    for (const [index, { key, value, ttlSeconds, guard: own, at }] of writes.entries()) {
      const refusal = refuse(key, value);
      if (refusal !== undefined) {
        outcomes[offset + index] = refusal;
        continue;
      }
      keys.push(key);
      args.push(value, ttlSeconds ?? 0, own === undefined ? 0 : at === undefined ? 1 : 2);
      positions.push(offset + index);
    }
    if (keys.length === 0) return;
    const failed = (await WRITE.run(this.#link, keys.length, [...keys, ...this.#headOf(guard), ...args])) as readonly (
      | number
      | Buffer
    )[];
    const ended: number[] = [];
    for (let at = 0; at < failed.length; at += 2) {
      const position = positions[failed[at] as number] as number;
      const reason = String(failed[at + 1]);
      if (reason === HOLDS_FAILURE) ended.push(position);
      else outcomes[position] = refusedByRedis(keys[failed[at] as number] as string, reason);
    }
    if (ended.length === 0) return;
    const decided = await this.#setCarefully(ended.map((position) => writes[position - offset] as KeyValueWrite));
    for (const [index, position] of ended.entries()) outcomes[position] = decided[index];
  }

  /** What the script is told of the guard, made once: it is the same for all writes of a backend. */
  #headOf(guard: ResultGuard | undefined): readonly (string | number | Uint8Array)[] {
    if (this.#head !== undefined && this.#head.guard === guard) return this.#head.args;
    // A command without bytes is one text, which is cheaper to send.
    const { marks: successes = [], failureMarks = [], windowBytes = 0 } = guard ?? {};
    const marks = [...successes, ...failureMarks].map((mark) =>
      /^[\x20-\x7e]*$/.test(mark) ? mark : Buffer.from(mark, 'latin1'),
    );
    const args = [windowBytes, successes.length, marks.length, ...marks];
    this.#head = { guard, args };
    return args;
  }

  /**
   * What a value's beginning does not tell, as a serializer may have it, or the time of an end: read, decide, write if
   * unchanged.
   */
  #setCarefully(writes: readonly KeyValueWrite[]): Promise<readonly Outcome[]> {
    const batch = this.#careful.then(async () => {
      const outcomes: Outcome[] = [];
      for (const write of writes) outcomes.push(refuse(write.key, write.value) ?? (await this.#setOne(write)));
      return outcomes;
    });
    this.#careful = batch.catch(() => undefined);
    return batch;
  }

  async #setOne(write: KeyValueWrite): Promise<Outcome> {
    const { key, value, ttlSeconds = 0 } = write;
    for (;;) {
      let present: Buffer | null;
      try {
        present = (await this.#link.bytes('get', [key])) as Buffer | null;
      } catch (error) {
        if (isLovageError(error, 'ERR_PRECONDITION_FAILED')) return error;
        throw error;
      }
      if (present !== null && isKept(present, write)) return undefined;
      const done = await READ_THEN_WRITE.run(this.#link, 1, [
        key,
        present === null ? 0 : 1,
        present ?? '',
        value,
        ttlSeconds,
      ]);
      if (done === 1) return undefined;
    }
  }

  async #watch(keys: readonly string[], listener: (key: string, value: StoredValue) => void): Promise<void> {
    const link = await (this.#feedLink ??= this.#startFeed().catch((error: unknown) => {
      this.#feedLink = undefined;
      throw error;
    }));
    for (const key of keys) this.#listeners.set(key, listener);
    try {
      await Promise.all(chunks(keys).map((part) => link.text('subscribe', part)));
    } catch (error) {
      for (const key of keys) this.#listeners.delete(key);
      throw error;
    }
  }

  #unwatch(keys: readonly string[]): void {
    const known = keys.filter((key) => this.#listeners.delete(key));
    void this.#feedLink
      // Somebody may have come back for a key meanwhile.
      ?.then((link) => {
        const gone = known.filter((key) => !this.#listeners.has(key));
        return Promise.all(chunks(gone).map((part) => link.text('unsubscribe', part)));
      })
      .catch(() => undefined);
  }

  async #startFeed(): Promise<RedisLink> {
    const link = await this.#openFeed();
    if (this.#isClosed || this.#link.isLost) link.close();
    link.lost.catch(this.#lose);
    link.onMessage((channel, message) => {
      if (!Buffer.isBuffer(message)) return;
      const key = channel.toString();
      this.#listeners.get(key)?.(key, message);
    });
    return link;
  }
}

function refuse(key: string, value: StoredValue): Outcome {
  // A text has at most three bytes of UTF-8 for each of its units.
  if (value.length * 3 < MOST_VALUE_BYTES || Buffer.byteLength(value) < MOST_VALUE_BYTES) return undefined;
  return new MessageTooLargeError(`The result for "${key}" exceeds the 512 MiB that a value of Redis may have.`, {
    facts: { key },
  });
}

function refusedByRedis(key: string, detail: string): Error {
  return new PreconditionFailedError(`Redis did not take the result for "${key}": ${JSON.stringify(detail)}.`, {
    facts: { key },
  });
}

function chunks(keys: readonly string[]): readonly (readonly string[])[] {
  if (keys.length <= MOST_KEYS) return keys.length === 0 ? [] : [keys];
  const parts: (readonly string[])[] = [];
  for (let from = 0; from < keys.length; from += MOST_KEYS) parts.push(keys.slice(from, from + MOST_KEYS));
  return parts;
}
