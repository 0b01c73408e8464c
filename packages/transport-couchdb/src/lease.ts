import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import type { CouchDatabase } from '@lovage/couchdb';
import { consumerId } from './layout.ts';

/**
 * The lease of one consumer: a document that gets a new revision at least every third of the lease while messages are
 * held. Others judge by that alone, so no two clocks are compared. Whoever finds it unchanged for a whole lease deletes
 * it, which makes its next renewal a conflict: from then on it is somebody else's word against none.
 */
export class Lease {
  readonly #database: CouchDatabase;
  readonly #leaseMs: number;
  #owner: string | undefined;
  #rev: string | undefined;
  #renewedAt = 0;
  #renewals = 0;
  #underway: Promise<boolean> | undefined;

  constructor(database: CouchDatabase, leaseMs: number) {
    this.#database = database;
    this.#leaseMs = leaseMs;
  }

  /** undefined: nothing was ever held. */
  get owner(): string | undefined {
    return this.#owner;
  }

  /** The owner for what is taken now: the same as before, if its lease is fresh or can be renewed; else a new one. */
  async fresh(): Promise<string> {
    if (this.#owner !== undefined && performance.now() - this.#renewedAt < this.#leaseMs / 3) return this.#owner;
    if (this.#owner !== undefined && (await this.renew())) return this.#owner;
    this.#owner = randomBytes(9).toString('base64url');
    this.#rev = undefined;
    await this.renew();
    return this.#owner;
  }

  /** False when somebody ended it: what this owner held is others'. */
  renew(): Promise<boolean> {
    this.#underway ??= this.#renew().finally(() => {
      this.#underway = undefined;
    });
    return this.#underway;
  }

  /** So that others need not wait for its end. */
  async end(): Promise<void> {
    const { id, rev } = this.#document();
    if (id !== undefined && rev !== undefined) {
      await this.#database.write([{ _id: id, _rev: rev, _deleted: true }]);
    }
  }

  async #renew(): Promise<boolean> {
    const { id, rev } = this.#document();
    if (id === undefined) return true;
    const startedAt = performance.now();
    const document = {
      _id: id,
      lease_ms: this.#leaseMs,
      host: hostname(),
      pid: process.pid,
      renewals: this.#renewals++,
    };
    const { outcomes, isDoubtful } = await this.#database.write([
      { ...document, ...(rev === undefined ? {} : { _rev: rev }) },
    ]);
    let written = outcomes[0]?.rev;
    if (written === undefined && (isDoubtful || rev !== undefined)) {
      // Nobody but us writes it, others only delete it: the attempt before the last may have been the one that wrote, or
      // another thread did while this one stood still.
      const [present] = await this.#database.documents([id]);
      written = present?._rev;
    }
    if (written === undefined) return false;
    this.#rev = written;
    this.#renewedAt = startedAt;
    return true;
  }

  #document(): { readonly id: string | undefined; readonly rev: string | undefined } {
    return { id: this.#owner === undefined ? undefined : consumerId(this.#owner), rev: this.#rev };
  }
}
