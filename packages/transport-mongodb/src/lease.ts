import { randomUUID } from 'node:crypto';
import { type MongoLink, SURE } from '@lovage/mongodb';
import type { Layout } from './layout.ts';

/**
 * The name under which a connection holds messages, and the record that says until when it may: one for all that it
 * holds, so that renewing costs the same for one message and for a hundred thousand. Judged by the server's clock.
 *
 * A record that somebody has declared dead is never renewed: the connection goes on under another name, and what it held
 * under the old one is not its own any more.
 */
export class Lease {
  readonly #link: MongoLink;
  readonly #collection: string;
  readonly #leaseMs: number;
  #owner: string | undefined;
  /** By our own clock, from before the renewal was sent. */
  #validUntil = 0;
  #renewing: Promise<boolean> | undefined;

  constructor(link: MongoLink, { consumers }: Layout, leaseMs: number) {
    this.#link = link;
    this.#collection = consumers;
    this.#leaseMs = leaseMs;
  }

  /** undefined before the first {@link hold}, and after a loss. */
  get owner(): string | undefined {
    return this.#owner;
  }

  /** Whether what was taken under this name is surely still ours. */
  isValid(owner: string): boolean {
    return owner === this.#owner && performance.now() < this.#validUntil;
  }

  /** The name to take messages under, valid for half a lease at least. */
  async hold(): Promise<string> {
    if (this.#owner !== undefined && this.#validUntil - performance.now() > this.#leaseMs / 2) return this.#owner;
    if (this.#owner === undefined || !(await this.renew())) await this.#register();
    return this.#owner as unknown as string;
  }

  /** False: others may have what was held under the present name, which is given up. */
  renew(): Promise<boolean> {
    return (this.#renewing ??= this.#renew().finally(() => {
      this.#renewing = undefined;
    }));
  }

  async #renew(): Promise<boolean> {
    const owner = this.#owner;
    if (owner === undefined) return false;
    const startedAt = performance.now();
    const { n } = await this.#link.run({
      update: this.#collection,
      updates: [{ q: { _id: owner, dead: null }, u: { $set: { until: this.#until() } } }],
      writeConcern: SURE,
    });
    if (Number(n) === 1) this.#validUntil = startedAt + this.#leaseMs;
    else this.#owner = undefined;
    return Number(n) === 1;
  }

  async #register(): Promise<void> {
    const owner = randomUUID();
    const startedAt = performance.now();
    const documents = [{ _id: owner, until: this.#until() }];
    await this.#link.run({ insert: this.#collection, documents, writeConcern: SURE });
    this.#owner = owner;
    this.#validUntil = startedAt + this.#leaseMs;
  }

  #until(): Date {
    return new Date(this.#link.serverMs + this.#leaseMs);
  }

  /** Says goodbye: at once where nothing is held any more, else what is left goes to whoever looks next. */
  async end(isHolding: (owner: string) => Promise<boolean>): Promise<void> {
    const owner = this.#owner;
    if (owner === undefined) return;
    this.#owner = undefined;
    if (await isHolding(owner)) {
      const updates = [{ q: { _id: owner }, u: { $set: { until: new Date(0) } } }];
      await this.#link.run({ update: this.#collection, updates, writeConcern: SURE });
    } else await this.#link.run({ delete: this.#collection, deletes: [{ q: { _id: owner }, limit: 1 }] });
  }
}
