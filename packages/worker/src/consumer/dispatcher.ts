import { ConnectionLostError, isLovageError, LeaseLostError, type Logger, type Lovage } from '@lovage/core';
import {
  decodeTaskBody,
  decodeTaskHeaders,
  NotRegistered,
  TaskRevokedError,
  WorkerLostError,
  type TaskBody,
  type TaskRequest,
} from '@lovage/core/protocol';
import type { Delivery } from '@lovage/core/transport';
import type { Clock } from '../clock.ts';
import type { DeadLetters, DeadReason } from '../dead-letters.ts';
import { canLog } from '../log.ts';
import type { Pool } from '../pools/pool.ts';
import { Attempt } from '../request/attempt.ts';
import type { TaskObservers } from '../request/observer.ts';
import type { Revokes } from '../request/revokes.ts';
import { decideSettlement, type Ending } from '../request/settlement.ts';
import type { TimeLimits } from '../request/time-limits.ts';
import type { Workflow } from '../request/workflow.ts';
import type { Tracer } from '../request/trace.ts';
import { Work } from '../request/work.ts';
import type { ResultWriter } from '../results/result-writer.ts';
import { Backlog, type Unstarted } from './backlog.ts';
import { Claims, mayBeTwice, needsClaim } from './claim.ts';
import { handBack, putBack, unknownCount } from './later.ts';
import { ifFirst, unlessDone } from './once.ts';
import type { PrefetchWindow } from './prefetch.ts';
import { RevokeSweep } from './revoke-sweep.ts';
import type { ConsumerSession } from './session.ts';
import { Unrun } from './unrun.ts';
import { judge, type VerdictRules } from './verdict.ts';

const FIRST_UNKNOWN_DELAY_MS = 5000;
const LONGEST_UNKNOWN_DELAY_MS = 30_000;
/** How long tasks are started without letting the event loop breathe. */
const TURN_MS = 10;
/** How many tasks may have ended and still wait for the store, beyond those that run. */
const MOST_ENDING = 1000;
/** How often a message looks whether the one with the same id that somebody runs has ended. */
const LOOK_AGAIN_MS = 2000;

export interface DispatcherOptions {
  readonly app: Lovage;
  readonly nodeName: string;
  readonly pool: Pool;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly results: ResultWriter | undefined;
  readonly deadLetters: DeadLetters;
  readonly observers: TaskObservers;
  readonly workflow: Workflow;
  readonly revoked: Revokes;
  readonly limits: TimeLimits;
  /** More could run than there are slots for. */
  readonly onLoad: () => void;
  readonly window: PrefetchWindow;
  /** How often a message of an unknown task is put back; 0: never, as Celery does. */
  readonly unknownTaskRetries: number;
}

/** Takes deliveries, decides what becomes of each, and starts tasks as slots are free. */
export class Dispatcher {
  readonly #options: DispatcherOptions;
  readonly #backlog: Backlog;
  readonly #sweep: RevokeSweep;
  readonly #attempts = new Set<Attempt>();
  /** Running tasks whose connection is lost, by id: their message comes again. */
  readonly #strays = new Map<string, Work>();
  readonly #unrun: Unrun;
  readonly #claims: Claims;
  /** Taken from those that are ready, each with a slot kept free, until it is known whether it is the one to run. */
  readonly #claiming = new Set<Work>();
  /** Came again, until it is known whether their task is done. */
  readonly #asking = new Set<Work>();
  /** What is under way and not an attempt: dead letters, hand-backs, look-ups. */
  readonly #background = new Set<Promise<unknown>>();
  readonly #totals = new Map<string, number>();
  #processed = 0;
  readonly #deliveryLimit: number;
  readonly #heldLimit: number;
  readonly #deduplicates: boolean;
  readonly #cancelsOnLoss: boolean;
  #tracer!: Tracer;
  #isAccepting = true;
  #isPumping = false;
  #isPumpScheduled = false;
  #idle: (() => void)[] = [];

  constructor(options: DispatcherOptions) {
    this.#options = options;
    const { settings } = options.app;
    this.#deliveryLimit = settings.deliveryLimit ?? 0;
    this.#heldLimit = settings.workerEtaTaskLimit ?? Number.POSITIVE_INFINITY;
    this.#deduplicates = settings.workerDeduplicateSuccessfulTasks;
    this.#cancelsOnLoss = settings.workerCancelLongRunningTasksOnConnectionLoss;
    this.#unrun = new Unrun({ ...options, isAccepting: () => this.#isAccepting });
    this.#claims = new Claims(options);
    this.#backlog = new Backlog({
      app: options.app,
      clock: options.clock,
      onRelease: () => {
        this.#backlogChanged();
        this.pump();
      },
      onUnknown: (message) => this.#track(this.#putBack(message, 0)),
      onUnreadable: ({ session, delivery }, error) =>
        this.#setAside(session, delivery, undefined, reasonOf(error), error),
    });
    this.#sweep = new RevokeSweep({ ...options, look: () => this.#endRevoked() });
    options.revoked.watch((isNew) => {
      if (isNew) this.#sweep.soon();
    });
  }

  /** The tracer and the dispatcher know each other. */
  attach(tracer: Tracer): void {
    this.#tracer = tracer;
  }

  /** Attempts whose message is not settled yet. */
  get attempts(): ReadonlySet<Attempt> {
    return this.#attempts;
  }

  /** How many tasks were started, by name. */
  get totals(): ReadonlyMap<string, number> {
    return this.#totals;
  }

  /** How many tasks were started. */
  get processed(): number {
    return this.#processed;
  }

  /** How many tasks run or wait for a slot. */
  get load(): number {
    return this.#options.pool.busy + this.#claiming.size + this.#backlog.ready;
  }

  /** Every slot could be filled once more with what waits here: no hurry to fetch. */
  get hasPlenty(): boolean {
    return this.#backlog.ready > this.#options.pool.concurrency;
  }

  /** So few of the messages that may be unsettled are that nobody waits for a place. */
  get hasRoom(): boolean {
    const { size } = this.#options.window;
    return size === 0 || this.#attempts.size + this.load <= size / 2;
  }

  /** Messages that could run and wait for a slot. */
  get reserved(): readonly Work[] {
    return [...this.#claiming, ...this.#backlog.reserved];
  }

  /** Messages that wait for their time. */
  get scheduled(): readonly Work[] {
    return this.#backlog.scheduled;
  }

  receive(session: ConsumerSession, deliveries: readonly Delivery[]): void {
    const rules = this.#rules(session);
    const handBacks: Work[] = [];
    const late: Work[] = [];
    for (const delivery of deliveries) {
      try {
        this.#receiveOne(session, delivery, rules, handBacks, late);
      } catch (error) {
        this.#options.logger.error({ err: error, queue: delivery.queue }, 'A message could not be taken in.');
        this.#setAside(session, delivery, undefined, 'invalid-message', error);
      }
    }
    if (handBacks.length > 0) this.#track(this.#handBack(session, handBacks));
    if (late.length > 0) this.#track(this.#runUnlessRevoked(late));
    this.#backlogChanged();
    this.pump();
  }

  /** Messages that others may have: what was not started is forgotten, what runs is told to end. */
  leaseLost(session: ConsumerSession, deliveries: readonly Delivery[]): void {
    const lost = new Set(deliveries);
    this.#takeUnstarted(({ delivery }) => lost.has(delivery));
    const reason = new LeaseLostError('The lease of this message is lost: another worker may run it.');
    for (const attempt of this.#attempts) {
      if (attempt.work.session !== session || !lost.has(attempt.work.delivery) || attempt.work.settled) continue;
      this.#options.logger.warn(
        { task: attempt.task.name, taskId: attempt.work.id },
        `Task ${attempt.task.name}[${attempt.work.id}] has lost its lease and is told to end.`,
      );
      attempt.interrupt('lease-lost', reason);
    }
  }

  /** The broker delivers again what this connection held. What runs goes on. */
  sessionLost(session: ConsumerSession): void {
    session.isLive = false;
    this.#takeUnstarted((item) => item.session === session);
    for (const attempt of this.#attempts) {
      const { work } = attempt;
      if (work.session !== session || work.settled) continue;
      if (this.#cancelsOnLoss) {
        attempt.interrupt('lease-lost', new ConnectionLostError('The broker is lost and the task is cancelled.'));
      } else {
        this.#strays.set(work.id, work);
      }
    }
  }

  /** Tells running tasks to end, and returns them. */
  terminate(test: (request: TaskRequest) => boolean, signal: NodeJS.Signals): readonly Attempt[] {
    const found = [...this.#attempts].filter(({ isOver, work }) => !isOver && test(work.request));
    for (const attempt of found) {
      attempt.signal = signal;
      attempt.interrupt('terminated', new TaskRevokedError('terminated'));
    }
    return found;
  }

  /** What waits for its turn follows the new rate at once. Throws `ConfigError` for what is no limit. */
  setRateLimit(task: string, limit: string | number | null): void {
    this.#backlog.setRateLimit(task, limit);
  }

  /** Takes nothing more and returns all that was not started. */
  returnUnstarted(): number {
    this.#isAccepting = false;
    const unstarted = this.#takeUnstarted(() => true);
    for (const { session, delivery } of unstarted) session.settle(delivery, 'requeue');
    this.#backlog.close();
    this.#sweep.stop();
    return unstarted.length;
  }

  /** Tells what runs to end because the worker stops. */
  interruptAll(reason: Error): void {
    for (const attempt of this.#attempts) if (!attempt.isOver) attempt.interrupt('shutdown', reason);
  }

  /** Ends the claim of attempts whose function goes on. */
  abandon(attempts: Iterable<Attempt>, signal?: NodeJS.Signals): void {
    for (const attempt of attempts) {
      if (attempt.isOver) continue;
      this.#options.pool.abandon(attempt, signal);
      this.#tracer.abandon(attempt);
    }
  }

  /** Returns what ended and still waits for a broker or a store. */
  returnEnding(): void {
    for (const attempt of this.#attempts)
      if (attempt.isOver) this.ended(attempt, attempt.isFenced ? 'fenced' : 'returned');
  }

  /** Resolves when no attempt and nothing else is under way. */
  idle(): Promise<void> {
    if (this.#isIdle()) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  /** Starts what is ready as far as there are slots. */
  pump(): void {
    if (this.#isPumping || this.#backlog.ready === 0) return;
    const { pool, clock, onLoad } = this.#options;
    if (this.#backlog.ready > pool.free - this.#claiming.size) onLoad();
    this.#isPumping = true;
    const begin = clock.monotonic();
    let started = 0;
    try {
      while (pool.free > this.#claiming.size && this.#attempts.size - pool.busy < MOST_ENDING) {
        const work = this.#backlog.shift();
        if (work === undefined) break;
        if (needsClaim(work) && !this.#claims.has(work)) this.#track(this.#startClaimed(work));
        else this.#tryStart(work);
        if ((++started & 7) === 0 && clock.monotonic() - begin > TURN_MS) {
          this.#pumpLater();
          break;
        }
      }
    } finally {
      this.#isPumping = false;
    }
  }

  /** The tracer is done with an attempt: its message is settled. */
  ended(attempt: Attempt, ending: Ending): void {
    if (!this.#attempts.delete(attempt)) return;
    const { work, task } = attempt;
    work.attempt = undefined;
    this.#options.pool.release(attempt);
    if (this.#strays.size > 0) this.#strays.delete(work.id);
    const { acksOnFailureOrTimeout, rejectOnWorkerLost } = task.options;
    const { settings } = this.#options.app;
    const own = task.configured.acksOnFailureOrTimeout;
    const outcome = decideSettlement(ending, {
      settled: work.settled,
      acksOnFailure: own ?? settings.taskAcksOnFailure ?? acksOnFailureOrTimeout,
      acksOnTimeout: own ?? settings.taskAcksOnTimeout ?? acksOnFailureOrTimeout,
      rejectOnWorkerLost,
    });
    if (outcome !== undefined) {
      work.settled = true;
      if (outcome === 'reject') this.#track(this.#unrun.reject(work));
      else work.session.settle(work.delivery, outcome);
    }
    if (this.#claims.has(work)) {
      this.#track(this.#claims.end(work, work.settled && outcome !== 'requeue' && outcome !== 'reject'));
    }
    this.pump();
    this.#checkIdle();
  }

  /** A function has ended and its slot is free. */
  functionEnded(): void {
    this.pump();
  }

  #rules(session: ConsumerSession): VerdictRules & { held: number } {
    return {
      now: this.#options.clock.now(),
      deliveryLimit: this.#deliveryLimit,
      held: this.#backlog.held,
      heldLimit: this.#heldLimit,
      maxDelayMs: session.connection.capabilities.maxDelayMs,
    };
  }

  #receiveOne(
    session: ConsumerSession,
    delivery: Delivery,
    rules: VerdictRules & { held: number },
    handBacks: Work[],
    late: Work[],
  ): void {
    if (!this.#isAccepting) {
      session.settle(delivery, 'requeue');
      return;
    }
    if (delivery.malformed !== undefined) {
      this.#setAside(session, delivery, undefined, 'malformed', delivery.malformed);
      return;
    }
    const { app, logger, revoked } = this.#options;
    let request: TaskRequest;
    try {
      request = decodeTaskHeaders(delivery.message, app.serializers);
    } catch (error) {
      this.#setAside(session, delivery, undefined, reasonOf(error), error);
      return;
    }
    if (this.#strays.size > 0 && this.#adopt(session, delivery, request)) return;

    const task = app.tasks.get(request.task);
    const verdict = judge(
      {
        eta: request.eta,
        expires: request.expires,
        deliveryCount: delivery.deliveryCount,
        isRegistered: task !== undefined,
        isRevoked: !revoked.isEmpty && revoked.matches(request),
      },
      rules,
    );
    if (verdict === 'poison') {
      const error = new WorkerLostError(
        `The message was delivered ${delivery.deliveryCount} times and never finished: it may be what kills workers.`,
      );
      this.#setAside(session, delivery, request, 'delivery-limit', error);
      return;
    }
    if (task === undefined) {
      this.#unknown(session, delivery, request);
      return;
    }
    const work = new Work(session, delivery, request, task);
    if (canLog(logger, 'info')) {
      logger.info(
        { task: task.name, taskId: work.id, queue: delivery.queue },
        `Task ${task.name}[${work.id}] received`,
      );
    }
    switch (verdict) {
      case 'unknown':
        return;
      case 'revoked':
      case 'expired':
        this.#track(this.#unrun.revoke(work, verdict));
        return;
      case 'hold':
        rules.held++;
        this.#options.observers.received(work);
        this.#backlog.hold(work);
        return;
      case 'hand-back':
        handBacks.push(work);
        return;
      case 'run':
        this.#options.observers.received(work);
        if (request.eta !== undefined) late.push(work);
        else this.#admit(work);
    }
  }

  #admit(work: Work): void {
    const { acksLate } = work.task.options;
    if (work.delivery.redelivered && acksLate && (this.#deduplicates || mayBeTwice(work))) {
      this.#track(this.#runUnlessDone(work));
    } else {
      this.#backlog.add(work);
    }
  }

  /** True when the message is the one of a task that runs here since before a loss: it goes on with the new tag. */
  #adopt(session: ConsumerSession, delivery: Delivery, request: TaskRequest): boolean {
    const stray = this.#strays.get(request.id);
    if (stray === undefined || stray.settled || stray.request.retries !== request.retries) return false;
    this.#strays.delete(request.id);
    stray.session = session;
    stray.delivery = delivery;
    this.#options.logger.info(
      { task: stray.task.name, taskId: stray.id },
      `Task ${stray.task.name}[${stray.id}] was delivered again while it runs here, and goes on.`,
    );
    return true;
  }

  #tryStart(work: Work): void {
    try {
      this.#start(work);
    } catch (error) {
      this.#notStarted(work, error);
    }
  }

  /** Starts it once it is claimed. */
  async #startClaimed(work: Work): Promise<void> {
    this.#claiming.add(work);
    const answer = await ifFirst(work, this.#claims, this.#options, this.#tracer);
    const isOurs = this.#claiming.delete(work);
    if (isOurs) {
      const { session, delivery } = work;
      if (answer === 'wait') {
        this.#backlog.pause(work, LOOK_AGAIN_MS, 'paused');
        this.#backlogChanged();
      } else if (answer !== 'run') session.settle(delivery, answer);
      else if (this.#options.pool.free > this.#claiming.size) this.#tryStart(work);
      else this.#backlog.addAgain(work);
    }
    this.pump();
    const isKept = work.attempt !== undefined || this.#backlog.isReady(work);
    if (!isKept) await this.#claims.end(work, false);
  }

  #start(work: Work): void {
    const { app, pool, clock, revoked, limits } = this.#options;
    const { request, task, session, delivery } = work;
    if (!revoked.isEmpty && revoked.matches(request)) {
      this.#track(this.#unrun.revoke(work, 'revoked'));
      return;
    }
    if (request.expires !== undefined && clock.now() > request.expires) {
      this.#track(this.#unrun.revoke(work, 'expired'));
      return;
    }
    let body: TaskBody;
    try {
      body = decodeTaskBody(delivery.message, app.serializers);
    } catch (error) {
      this.#setAside(session, delivery, request, reasonOf(error), error);
      return;
    }
    if (!task.options.acksLate) {
      session.settle(delivery, 'ack', true);
      work.settled = true;
    }
    const attempt = new Attempt(this.#tracer, this.#tracer, work, body, clock.monotonic(), limits.of(request, task));
    work.attempt = attempt;
    this.#attempts.add(attempt);
    this.#totals.set(task.name, (this.#totals.get(task.name) ?? 0) + 1);
    this.#processed++;
    this.#options.observers.started(attempt);
    pool.execute(attempt);
  }

  /** What cannot be started is that task's failure, and nobody else's. */
  #notStarted(work: Work, error: unknown): void {
    const { session, delivery, request, task, attempt } = work;
    if (attempt === undefined) {
      this.#setAside(session, delivery, request, reasonOf(error), error);
      return;
    }
    this.#options.pool.abandon(attempt);
    if (!attempt.isOver) {
      attempt.threw(error);
      return;
    }
    this.#options.logger.error(
      { err: error, task: task.name, taskId: work.id },
      `Task ${task.name}[${work.id}] goes back to the broker: what follows it failed in an unexpected way.`,
    );
    this.ended(attempt, 'returned');
  }

  // Ends without a run.

  /** What waits here and is revoked ends now: when its time has come, nobody may know of it any more. */
  async #endRevoked(): Promise<void> {
    await this.#backlog.sift(
      ({ request }) => this.#options.revoked.matches(request),
      (work) => {
        this.#endClaim(work);
        this.#track(this.#unrun.revoke(work, 'revoked'));
      },
    );
    this.#backlogChanged();
  }

  #unknown(session: ConsumerSession, delivery: Delivery, request: TaskRequest): void {
    const { logger, unknownTaskRetries } = this.#options;
    const count = unknownCount(delivery);
    if (count >= unknownTaskRetries) {
      const error = new NotRegistered(request.task);
      this.#options.observers.unknown(delivery, request, error);
      this.#setAside(session, delivery, request, 'not-registered', error);
      return;
    }
    const delayMs = Math.min(LONGEST_UNKNOWN_DELAY_MS, FIRST_UNKNOWN_DELAY_MS * 2 ** count);
    logger.warn(
      { task: request.task, taskId: request.id, delayMs },
      `Task ${request.task}[${request.id}] is not registered here. Its message goes back to the broker in ${delayMs / 1000}s.`,
    );
    const { maxDelayMs } = session.connection.capabilities;
    if (maxDelayMs > 0) this.#track(this.#putBack({ session, delivery }, Math.min(delayMs, maxDelayMs)));
    else this.#backlog.pause({ session, delivery }, delayMs, 'unknown');
  }

  /** One that cannot be published stays here for a while. */
  async #putBack(message: Unstarted, delayMs: number): Promise<void> {
    const { session, delivery } = message;
    if (await putBack(session, delivery, delayMs, this.#options.logger)) return;
    if (session.isLive && this.#isAccepting) {
      this.#backlog.pause(message, LONGEST_UNKNOWN_DELAY_MS, 'unknown');
      this.#backlogChanged();
    } else session.settle(delivery, 'requeue');
  }

  /**
   * What has waited for its time elsewhere, in a broker that delays for example: it may have been revoked so long ago that
   * no worker knows of it any more. The store does.
   */
  async #runUnlessRevoked(works: readonly Work[]): Promise<void> {
    for (const work of works) this.#asking.add(work);
    const revoked = await findRevoked(works, this.#options);
    for (const work of works) {
      // Returned, or somebody else's, by now.
      if (!this.#asking.delete(work)) continue;
      if (revoked.has(work.id)) this.#track(this.#unrun.revoke(work, 'revoked'));
      else this.#admit(work);
    }
    this.pump();
  }

  /** Nobody else does, while its connection lives. */
  async #runUnlessDone(work: Work): Promise<void> {
    this.#asking.add(work);
    const answer = await unlessDone(work, this.#options, this.#tracer);
    // Returned, or somebody else's, by now.
    if (!this.#asking.delete(work)) return;
    if (answer === 'run') this.#backlog.add(work);
    else work.session.settle(work.delivery, answer);
    this.pump();
  }

  async #handBack(session: ConsumerSession, works: readonly Work[]): Promise<void> {
    for (const work of await handBack(session, works, this.#options)) {
      if (session.isLive && this.#isAccepting) this.#backlog.hold(work);
      else session.settle(work.delivery, 'requeue');
    }
    this.#backlogChanged();
  }

  #setAside(
    session: ConsumerSession,
    delivery: Delivery,
    request: TaskRequest | undefined,
    reason: DeadReason,
    error: unknown,
  ): void {
    this.#track(this.#unrun.setAside({ session, delivery, request, reason, error }));
  }

  // Bookkeeping.

  #takeUnstarted(test: (item: Unstarted) => boolean): Unstarted[] {
    const taken = this.#backlog.extract(test);
    for (const item of taken) if (item instanceof Work) this.#endClaim(item);
    for (const set of [this.#claiming, this.#asking]) {
      for (const work of set) {
        if (!test(work)) continue;
        set.delete(work);
        taken.push(work);
      }
    }
    this.#backlogChanged();
    return taken;
  }

  /** One that could start, and does not, keeps no other message with its id waiting. */
  #endClaim(work: Work): void {
    if (this.#claims.has(work)) this.#track(this.#claims.end(work, false));
  }

  #backlogChanged(): void {
    this.#options.window.setHeld(this.#backlog.waiting);
  }

  #pumpLater(): void {
    if (this.#isPumpScheduled) return;
    this.#isPumpScheduled = true;
    setImmediate(() => {
      this.#isPumpScheduled = false;
      this.pump();
    });
  }

  #track(promise: Promise<unknown>): void {
    this.#background.add(promise);
    const done = (): void => {
      this.#background.delete(promise);
      this.#checkIdle();
    };
    promise.then(done, (error: unknown) => {
      this.#options.logger.error({ err: error }, 'A message could not be dealt with. The broker delivers it again.');
      done();
    });
  }

  #isIdle(): boolean {
    return this.#attempts.size === 0 && this.#background.size === 0;
  }

  #checkIdle(): void {
    if (this.#idle.length > 0 && this.#isIdle()) for (const resolve of this.#idle.splice(0)) resolve();
  }
}

/** The ids that the store has as revoked; none when it cannot be asked. */
async function findRevoked(
  works: readonly Work[],
  { app, logger }: Pick<DispatcherOptions, 'app' | 'logger'>,
): Promise<ReadonlySet<string>> {
  const ids = works.map(({ id }) => id);
  try {
    const backend = await app.resultBackend();
    const metas = backend?.capabilities.shared === true ? await backend.load(ids) : [];
    return new Set(ids.filter((_, index) => metas[index]?.status === 'REVOKED'));
  } catch (error) {
    logger.warn(
      { err: error, tasks: ids.length },
      'It is not known whether tasks were revoked before their time. They run.',
    );
    return new Set();
  }
}

function reasonOf(error: unknown): DeadReason {
  if (isLovageError(error, 'ERR_CONTENT_DISALLOWED')) return 'content-disallowed';
  if (isLovageError(error, 'ERR_INVALID_MESSAGE')) return 'invalid-message';
  return 'undecodable';
}
