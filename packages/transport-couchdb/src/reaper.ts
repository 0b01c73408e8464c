import type { Logger } from '@lovage/core/transport';
import type { CouchDatabase, CouchDocument } from '@lovage/couchdb';
import { consumerId, CONSUMERS, DESIGN, endOf, keysOf, ownerOf, releasedMessage } from './layout.ts';

const BATCH = 100;

/** Every so many looks it also asks who holds something and has no lease at all. */
const LOOKS_PER_CENSUS = 30;

/** What was last seen of a consumer's lease. */
interface Sighting {
  readonly rev: string | undefined;
  readonly since: number;
}

/**
 * Gives back what consumers hold that are dead: those whose lease had the same revision for a whole lease, by this
 * process's own clock. Several may do so at once: each step is a write that only one can make.
 */
export class Reaper {
  readonly #database: CouchDatabase;
  readonly #leaseMs: number;
  readonly #logger: Logger;
  #sightings = new Map<string, Sighting>();
  #looks = 0;

  constructor(database: CouchDatabase, leaseMs: number, logger: Logger) {
    this.#database = database;
    this.#leaseMs = leaseMs;
    this.#logger = logger;
  }

  /** Looks at all but `self`. Called every third of the lease. */
  async look(self: string | undefined): Promise<void> {
    const rows = await this.#database.range(CONSUMERS, endOf(CONSUMERS), { include_docs: true });
    const now = performance.now();
    const sightings = new Map<string, Sighting>();
    const dead: CouchDocument[] = [];
    for (const { doc: lease } of rows) {
      if (!lease || lease._id === consumerId(self ?? '')) continue;
      const known = this.#sightings.get(lease._id);
      const sighting = known !== undefined && known.rev === lease._rev ? known : { rev: lease._rev, since: now };
      sightings.set(lease._id, sighting);
      const leaseMs = typeof lease['lease_ms'] === 'number' ? lease['lease_ms'] : this.#leaseMs;
      if (now - sighting.since >= leaseMs) dead.push(lease);
    }
    this.#sightings = sightings;
    // One that holds nothing does not renew; it will take another lease when it needs one.
    for (const lease of dead) await this.#bury(ownerOf(lease._id), lease);
    if (++this.#looks % LOOKS_PER_CENSUS === 3) await this.#census(self);
  }

  /** Whose lease somebody ended who could not give back everything. */
  async #census(self: string | undefined): Promise<void> {
    const rows = await this.#database.view(DESIGN.name, 'messages', {
      startkey: ['h'],
      endkey: ['h', {}],
      group_level: 2,
    });
    const owners = rows.map(({ key }) => (key as readonly string[])[1] as string).filter((owner) => owner !== self);
    // Asked for after what they hold: a lease is there before anything is held under it.
    const leases = await this.#database.documents(owners.map(consumerId));
    for (const [index, owner] of owners.entries()) if (leases[index] === undefined) await this.#bury(owner, undefined);
  }

  async #bury(owner: string, lease: CouchDocument | undefined): Promise<void> {
    if (lease?._rev !== undefined) {
      const end = { _id: lease._id, _rev: lease._rev, _deleted: true } as const;
      const { outcomes } = await this.#database.write([end]);
      // It lives after all, or another one does this.
      if (outcomes[0]?.rev === undefined) return;
    }
    let released = 0;
    for (;;) {
      const count = await this.#release(owner);
      if (count === 0) break;
      released += count;
    }
    if (released > 0) {
      this.#logger.warn(
        { messages: released, host: lease?.['host'], pid: lease?.['pid'] },
        'messages of a consumer that died or went silent are given to others',
      );
    }
  }

  async #release(owner: string): Promise<number> {
    const rows = await this.#database.view(DESIGN.name, 'messages', {
      ...keysOf('h', owner),
      reduce: false,
      include_docs: true,
      limit: BATCH,
    });
    const documents = rows.map(({ doc }) => releasedMessage(doc, owner)).filter((doc) => doc !== undefined);
    if (documents.length === 0) return 0;
    const { outcomes } = await this.#database.write(documents);
    return outcomes.filter(({ rev }) => rev !== undefined).length;
  }
}
