import { randomUUID } from 'node:crypto';
import type { Logger, Lovage } from '@lovage/core';
import type { DocumentStore } from '@lovage/core/backend';
import { INSTANT_HEADER, ONCE_HEADER } from '@lovage/core/protocol';
import type { Clock } from '../clock.ts';
import type { Work } from '../request/work.ts';

/** Longer than anybody may take to send a message a second time. */
const KEPT_SECONDS = 7 * 24 * 3600;
const RENEW_MS = 30_000;
/** Who has not renewed a claim for so long is dead. */
const DEAD_MS = 120_000;
const MOST_TRIES = 3;

/** A message that its sender may have sent twice with the same id: an instant of a beat, the body of a chord. */
export function mayBeTwice({ delivery }: Work): boolean {
  const { headers } = delivery.message;
  return headers[INSTANT_HEADER] !== undefined || headers[ONCE_HEADER] !== undefined;
}

/** A first attempt of such a message: later ones, and what replaces it, have its id and are meant to run. */
export function needsClaim(work: Work): boolean {
  const { retries, replacedTaskNesting } = work.request;
  return mayBeTwice(work) && retries === 0 && replacedTaskNesting === 0;
}

/**
 * `ours`: to be run. `inherited`: the same, and whoever held it before may have run it to its end and died. `done`: a
 * message with its id was run and settled. `held`: somebody runs one, or did lately.
 */
export type ClaimAnswer = 'ours' | 'inherited' | 'done' | 'held';

interface Note {
  readonly holder: string;
  /** Epoch milliseconds. */
  readonly at: number;
  readonly state: 'held' | 'done' | 'free';
}

interface Claim {
  readonly documents: DocumentStore;
  readonly name: string;
  version: string;
  cancelRenewal: () => void;
  writing: Promise<void>;
}

export interface ClaimsOptions {
  readonly app: Lovage;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly nodeName: string;
}

/**
 * Which of the messages with one id is run. A claim is made when its task starts, renewed while it runs, and says that
 * the task is done when the message was settled. So a second message is dropped only where the first one has been run: as
 * long as it is not, it waits, and a holder that died is replaced.
 */
export class Claims {
  readonly #options: ClaimsOptions;
  /** This worker's life: after a restart its earlier claims are somebody else's. */
  readonly #holder: string;
  readonly #claims = new Map<Work, Claim>();

  constructor(options: ClaimsOptions) {
    this.#options = options;
    this.#holder = `${options.nodeName} ${randomUUID()}`;
  }

  has(work: Work): boolean {
    return this.#claims.has(work);
  }

  /**
   * `ours` on a store that cannot compare and swap, and without one: then the task may run twice. Rejects with what the
   * store rejects with.
   */
  async take(work: Work): Promise<ClaimAnswer> {
    const { app, clock } = this.#options;
    const documents = (await app.resultBackend())?.documents;
    if (documents === undefined) return 'ours';
    const { headers } = work.delivery.message;
    const name = `lovage-${headers[INSTANT_HEADER] === undefined ? 'once' : 'instant'}:${work.id}`;
    // The broker says that nobody settled it, or somebody took it back from where dead letters are: it has to run.
    const isAgain = work.delivery.redelivered || wasDead(headers);
    let over: string | undefined;
    let answer: ClaimAnswer = 'ours';
    for (let tries = 0; tries < MOST_TRIES; tries++) {
      const version = await this.#note(documents, name, 'held', over);
      if (version !== undefined) {
        const claim = { documents, name, version, cancelRenewal: () => {}, writing: Promise.resolve() };
        this.#claims.set(work, claim);
        this.#renewLater(work, claim);
        return answer;
      }
      const found = await documents.read(name);
      over = found?.version;
      if (found === undefined || isAgain) continue;
      const note = readNote(found.text);
      if (note?.state === 'done') return 'done';
      // A clock that is wrong by more than that delays nothing for ever.
      const isFresh = note?.state === 'held' && Math.abs(clock.now() - note.at) < DEAD_MS;
      if (isFresh && (note.holder !== this.#holder || this.#isRunning(name))) return 'held';
      answer = note?.state === 'held' ? 'inherited' : 'ours';
    }
    return isAgain ? 'ours' : 'held';
  }

  /** The message is settled for good, or goes to somebody else, who need not wait. Resolves when that is noted. Never rejects. */
  async end(work: Work, isDone: boolean): Promise<void> {
    const claim = this.#claims.get(work);
    if (claim === undefined) return;
    this.#claims.delete(work);
    claim.cancelRenewal();
    await this.#write(work, claim, isDone ? 'done' : 'free');
  }

  #isRunning(name: string): boolean {
    for (const claim of this.#claims.values()) if (claim.name === name) return true;
    return false;
  }

  #renewLater(work: Work, claim: Claim): void {
    claim.cancelRenewal = this.#options.clock.after(RENEW_MS, () => {
      void this.#write(work, claim, 'held').then(() => {
        if (this.#claims.get(work) === claim) this.#renewLater(work, claim);
      });
    });
  }

  /** One after the other: each goes over the version of the one before. */
  #write(work: Work, claim: Claim, state: Note['state']): Promise<void> {
    claim.writing = claim.writing.then(async () => {
      try {
        const version = await this.#note(claim.documents, claim.name, state, claim.version);
        // Somebody else's by now: theirs to keep up.
        if (version === undefined) this.#claims.delete(work);
        else claim.version = version;
      } catch (error) {
        this.#options.logger.warn(
          { err: error, task: work.task.name, taskId: work.id },
          `The claim of task ${work.task.name}[${work.id}] could not be kept up. A second message with its id may run.`,
        );
      }
    });
    return claim.writing;
  }

  #note(documents: DocumentStore, name: string, state: Note['state'], over: string | undefined) {
    const note: Note = { holder: this.#holder, at: this.#options.clock.now(), state };
    return documents.write(name, JSON.stringify(note), over, { ttlSeconds: KEPT_SECONDS });
  }
}

/** It was refused or set aside, and taken back. What only expired was in nobody's hands: so brokers delay. */
function wasDead(headers: Readonly<Record<string, unknown>>): boolean {
  if (headers['x-lovage-reason'] !== undefined) return true;
  const deaths = headers['x-death'];
  if (!Array.isArray(deaths)) return deaths !== undefined;
  return (deaths as unknown[]).some((death) => (death as { reason?: unknown } | null)?.reason !== 'expired');
}

/** undefined: not one of ours, and nothing to wait for. */
function readNote(text: string): Note | undefined {
  try {
    const { holder, at, state } = JSON.parse(text) as Partial<Note>;
    if (typeof holder !== 'string' || typeof at !== 'number' || state === undefined) return undefined;
    return { holder, at, state };
  } catch {
    return undefined;
  }
}
