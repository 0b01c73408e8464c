import type { Logger } from '@lovage/core/transport';
import type { CouchDatabase, CouchDocument } from '@lovage/couchdb';
import { consumerId, DESIGN, keysOf, releasedMessage } from './layout.ts';

const BATCH = 100;

/** What was last seen of a consumer's lease. */
interface Sighting {
  readonly rev: string | undefined;
  readonly since: number;
}

/**
 * Gives back what consumers hold that are dead: those whose lease had the same revision, or was missing, for a whole
 * lease by this process's own clock. Several may do so at once: each step is a write that only one can make.
 */
export class Reaper {
  readonly #database: CouchDatabase;
  readonly #leaseMs: number;
  readonly #logger: Logger;
  #sightings = new Map<string, Sighting>();

  constructor(database: CouchDatabase, leaseMs: number, logger: Logger) {
    this.#database = database;
    this.#leaseMs = leaseMs;
    this.#logger = logger;
  }

  /** Looks at all who hold something, but for `self`. Called every third of the lease. */
  async look(self: string | undefined): Promise<void> {
    const rows = await this.#database.view(DESIGN.name, 'messages', {
      startkey: ['h'],
      endkey: ['h', {}],
      group_level: 2,
    });
    const owners = rows.map(({ key }) => (key as readonly string[])[1] as string).filter((owner) => owner !== self);
    const leases = await this.#database.documents(owners.map(consumerId));
    const now = performance.now();
    const sightings = new Map<string, Sighting>();
    const dead: { readonly owner: string; readonly lease: CouchDocument | undefined }[] = [];
    for (const [index, owner] of owners.entries()) {
      const lease = leases[index];
      const known = this.#sightings.get(owner);
      const sighting = known !== undefined && known.rev === lease?._rev ? known : { rev: lease?._rev, since: now };
      sightings.set(owner, sighting);
      const leaseMs = typeof lease?.['lease_ms'] === 'number' ? lease['lease_ms'] : this.#leaseMs;
      if (now - sighting.since >= leaseMs) dead.push({ owner, lease });
    }
    this.#sightings = sightings;
    for (const { owner, lease } of dead) await this.#bury(owner, lease);
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
