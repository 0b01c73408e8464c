import { decodeOwnJson, describeError, encodeJson, RemoteError, WorkerLostError } from '@lovage/core/protocol';
import { hasEndHooks, type HookCall } from '../../request/hooks.ts';
import { isChildError } from '../../request/matchers.ts';
import type { PoolJob } from '../pool.ts';
import { receiveResult, receiveThrown, sendReason } from './crossing.ts';
import type { ChildEvents, ChildLink, OpenLink } from './link.ts';
import type { HookValue, InitMessage, RunMessage, ToParent } from './messages.ts';

/**
 * `starting`, then `idle` and `busy` in turns; `holding`: the function has ended and its handlers are still to be
 * called; `leaving`: told to exit; `gone`.
 */
export type ChildState = 'starting' | 'idle' | 'busy' | 'holding' | 'leaving' | 'gone';

/** What a pool hears of its children. */
export interface ChildOwner {
  /** The code of the pool runs. */
  alive(child: Child): void;
  /** It can take a job: the first one, or the next. */
  idle(child: Child): void;
  /** The function of its job is over. */
  ended(child: Child): void;
  /** It died before it began its job, which another one can have. */
  unbegun(job: PoolJob, how: string): void;
  /** It is gone, or about to be. `broken`: why it could not load the app. */
  gone(child: Child, how: string, broken: string | undefined): void;
  log(message: Extract<ToParent, { kind: 'log' }>): void;
}

interface Waiting {
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** One child as its pool sees it: one job at a time. */
export class Child {
  state: ChildState = 'starting';
  /** It takes no further job. */
  isRetiring = false;
  /** How many jobs it was given. */
  jobs = 0;
  /** What it held after its last job; undefined: it does not say. */
  memoryKiB: number | undefined;
  job: PoolJob | undefined;
  readonly #owner: ChildOwner;
  readonly #link: ChildLink;
  #number = 0;
  #broken: string | undefined;
  #hook: Waiting | undefined;

  constructor(open: OpenLink, init: InitMessage, owner: ChildOwner) {
    this.#owner = owner;
    const events: ChildEvents = {
      onMessage: (message) => this.#receive(message),
      onGone: (how) => this.#gone(how),
    };
    this.#link = open(events);
    this.#link.post(init);
  }

  /** Process id or thread id. */
  get id(): number {
    return this.#link.id;
  }

  /** Only when `idle`. */
  run(job: PoolJob, message: RunMessage): void {
    const number = message.job;
    this.job = job;
    this.state = 'busy';
    this.jobs++;
    this.#number = number;
    this.#link.post(message);
    job.context.onAbort = (reason) => {
      this.#link.post({ kind: 'abort', job: number, reason: sendReason(reason) });
    };
  }

  /** Calls a handler of its job. */
  hook(call: HookCall, value: unknown): Promise<void> {
    if (this.job === undefined || this.state !== 'holding') return Promise.reject(this.#lost('is gone'));
    const sent = hookValue(this.job, call, value);
    return new Promise((resolve, reject) => {
      this.#hook = { resolve, reject };
      this.#link.post({ kind: 'hook', job: this.#number, call, value: sent });
    });
  }

  /** Everything that follows its job is done. */
  release(): void {
    if (this.state !== 'holding') return;
    this.#link.post({ kind: 'forget', job: this.#number });
    this.#rest();
  }

  /** Tells it to exit: only while it has no job. */
  leave(): void {
    if (this.state === 'gone') return;
    this.state = 'leaving';
    this.#link.post({ kind: 'stop' });
  }

  /** Ends it at once and says nothing more of its job. */
  kill(signal: NodeJS.Signals): void {
    this.#unlisten();
    this.job = undefined;
    if (this.state === 'gone') return;
    this.state = 'leaving';
    this.#hook?.reject(this.#lost('was ended'));
    this.#link.kill(signal);
  }

  #receive(message: ToParent): void {
    switch (message.kind) {
      case 'alive':
        this.#owner.alive(this);
        return;
      case 'ready':
        if (this.state === 'starting') this.#rest();
        return;
      case 'broken':
        this.#broken = message.message;
        return;
      case 'log':
        this.#owner.log(message);
        return;
      case 'stray':
        this.isRetiring = true;
        if (this.state === 'idle') this.#owner.idle(this);
        return;
      case 'hooked': {
        const hook = this.#hook;
        this.#hook = undefined;
        if (message.error === undefined) hook?.resolve();
        else hook?.reject(new RemoteError(message.error));
        return;
      }
      case 'state':
        this.#store(message);
        return;
      case 'returned':
      case 'threw':
        this.#ended(message);
    }
  }

  #store({ job: number, children, call, state, meta }: Extract<ToParent, { kind: 'state' }>): void {
    const { job } = this;
    if (job === undefined || number !== this.#number) return;
    const answer = (error?: unknown): void =>
      this.#link.post({ kind: 'stored', call, error: error === undefined ? undefined : describeError(error) });
    const store = async (): Promise<void> => {
      this.#addChildren(job, children);
      await job.context.updateState({ state, meta: decodeOwnJson(meta) });
    };
    store().then(() => answer(), answer);
  }

  #ended(message: Extract<ToParent, { kind: 'returned' | 'threw' }>): void {
    const { job } = this;
    if (job === undefined || message.job !== this.#number || this.state !== 'busy') return;
    this.#unlisten();
    this.memoryKiB = message.memoryKiB ?? this.memoryKiB;
    this.state = 'holding';
    this.#owner.ended(this);
    // Without handlers the slot is free before what follows the task begins.
    if (!hasEndHooks(job.task)) this.#rest();
    let value: unknown;
    try {
      this.#addChildren(job, message.children);
      if (message.kind === 'returned') value = receiveResult(message.value);
      else value = receiveThrown(job.task, job.context, message.thrown);
    } catch (error) {
      // What no text and no clone brings over, a depth beyond all for example.
      if (message.kind === 'threw' || job.usesResult) {
        job.threw(error);
        return;
      }
    }
    if (message.kind === 'returned') job.returned(value);
    else job.threw(value);
  }

  #addChildren(job: PoolJob, children: readonly string[]): void {
    for (const child of children) job.context.addChild(decodeOwnJson(child));
  }

  #unlisten(): void {
    if (this.job !== undefined) this.job.context.onAbort = undefined;
  }

  #rest(): void {
    this.state = 'idle';
    this.job = undefined;
    this.#owner.idle(this);
  }

  #gone(how: string): void {
    const { job, state } = this;
    const hasBegun = this.#link.hasBegun(this.#number);
    this.state = 'gone';
    this.#unlisten();
    this.job = undefined;
    this.#hook?.reject(this.#lost(how));
    this.#owner.gone(this, how, this.#broken);
    if (job === undefined || state !== 'busy') return;
    if (hasBegun) job.lost(this.#lost(how));
    else this.#owner.unbegun(job, how);
  }

  #lost(how: string): WorkerLostError {
    return new WorkerLostError(`The child ${this.id} that ran the task ${how}.`);
  }
}

/** Throws `EncodeError` for a body that has no form in which it crosses. */
export function describeRun(job: PoolJob, number: number): RunMessage {
  const { task, context, usesResult } = job;
  const { request, delivery } = context.work;
  const { exchange, routingKey, redelivered, message } = delivery;
  const { priority } = message.properties;
  return {
    kind: 'run',
    job: number,
    task: task.name,
    request,
    body: bodyText(job),
    delivery: { exchange, routingKey, redelivered, priority },
    usesResult,
  };
}

/** The message's own text where it is in the form that crosses: it was decoded once already, so it is sound. */
function bodyText({ args, kwargs, context }: PoolJob): string {
  const { message } = context.work.delivery;
  const { contentType, contentEncoding, headers, body } = message;
  const isText = contentType === 'application/json' && /^(?:utf-?8|us-ascii)$/i.test(contentEncoding);
  if (isText && !headers['compression'] && headers['task'] !== undefined && body[0] === BRACKET) {
    return Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString('utf8');
  }
  const { callbacks, errbacks, chain, chord } = context.body;
  return encodeJson([args, kwargs, { callbacks, errbacks, chain, chord: chord ?? null }]);
}

const BRACKET = 0x5b;

function hookValue(job: PoolJob, call: HookCall, value: unknown): HookValue {
  if (isChildError(value)) return { kept: value.role };
  if (call.hook === 'onSuccess' || (call.hook === 'afterReturn' && call.state === 'SUCCESS')) return { kept: 'result' };
  const { abortReason } = job.context;
  if (abortReason !== undefined && value === abortReason) return { kept: 'reason' };
  return { described: describeError(value) };
}
