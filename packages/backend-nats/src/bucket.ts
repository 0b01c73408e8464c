import {
  DiscardPolicy,
  type JetStreamManager,
  RetentionPolicy,
  StorageType,
  type StreamConfig,
  type StreamInfo,
} from '@nats-io/jetstream';
import {
  BrokerBlockedError,
  ConnectionLostError,
  isLovageError,
  type Logger,
  type LovageError,
  type StoredValue,
} from '@lovage/core/backend';
import {
  apiCode,
  type ApiFailure,
  apiPrefix,
  fromApiFailure,
  JETSTREAM_CODES,
  type NatsLink,
  type Question,
  subjectToken,
  Window,
} from '@lovage/nats';
import { headers, type Msg, type MsgHdrs, nanos } from '@nats-io/transport-node';
import type { BucketSettings } from './options.ts';

const ANSWER_MS = 8000;
/** Unconfirmed writes at once; the server keeps 10,000 or 128 MiB of one stream waiting, and refuses beyond. */
const WINDOW_MESSAGES = 4000;
const WINDOW_BYTES = 32 * 1024 * 1024;
/** A mark of what was deleted is of no use for longer. */
const MARK_SECONDS = 10;
const DUPLICATE_WINDOW_MS = 120_000;

/** What a key holds: nothing and sequence 0 where there never was anything, or it has expired. */
export interface Entry {
  readonly value: Uint8Array | undefined;
  /** Of the last write. A write over it has to name it. */
  readonly sequence: number;
}

export interface EntryWrite {
  readonly key: string;
  readonly value: StoredValue;
  readonly ttlSeconds: number | undefined;
  /** The sequence that the key must have; undefined: any. */
  readonly over: number | undefined;
}

/**
 * Headers of what is no value: it says that a key was deleted, or what the server removed by itself (expired, over a limit),
 * where an operator has it say so. Source: ADR-8 and ADR-43 of nats-architecture-and-design.
 */
export const MARKS = ['KV-Operation', 'Nats-Marker-Reason'] as const;

const NOTHING: Entry = { value: undefined, sequence: 0 };

/** Makes the bucket unless it is there, as `nats kv add` does, with a time to live per message and notifications. */
export async function openBucket(
  link: NatsLink,
  manager: JetStreamManager,
  { name, streamConfig }: BucketSettings,
  logger: Logger,
): Promise<Bucket> {
  const wanted: Partial<StreamConfig> & Pick<StreamConfig, 'name' | 'subjects'> = {
    name: `KV_${name}`,
    subjects: [`$KV.${name}.>`],
    retention: RetentionPolicy.Limits,
    storage: StorageType.File,
    discard: DiscardPolicy.New,
    max_msgs_per_subject: 1,
    allow_direct: true,
    allow_rollup_hdrs: true,
    allow_msg_ttl: true,
    deny_delete: true,
    duplicate_window: nanos(DUPLICATE_WINDOW_MS),
    republish: { src: `$KV.${name}.>`, dest: `lovage.kv.${name}.>` },
    ...streamConfig,
  };
  const { config } = await added(manager, wanted);
  const told = config.republish;
  const isTold = told?.src === wanted.republish?.src && told?.headers_only !== true;
  if (!isTold) {
    logger.warn({ bucket: name }, 'this bucket republishes for others: results are polled instead of told');
  }
  return new Bucket(link, name, config.num_replicas > 1, isTold ? told?.dest.replace(/>$/, '') : undefined);
}

async function added(
  manager: JetStreamManager,
  wanted: Partial<StreamConfig> & Pick<StreamConfig, 'name' | 'subjects'>,
): Promise<StreamInfo> {
  let present: StreamInfo;
  try {
    present = await manager.streams.info(wanted.name);
  } catch (error) {
    if (apiCode(error) !== JETSTREAM_CODES.streamNotFound) throw error;
    try {
      return await manager.streams.add(wanted);
    } catch (failure) {
      // Somebody else was faster.
      if (apiCode(failure) !== JETSTREAM_CODES.streamNameInUse) throw failure;
      present = await manager.streams.info(wanted.name);
    }
  }
  // One that an operator made keeps its settings; what is missing is turned on.
  const { allow_msg_ttl, allow_direct, republish } = present.config;
  const changes = {
    ...(allow_msg_ttl ? {} : { allow_msg_ttl: true }),
    ...(allow_direct ? {} : { allow_direct: true }),
    ...(republish === undefined ? { republish: wanted.republish } : {}),
  };
  if (Object.keys(changes).length === 0) return present;
  return manager.streams.update(wanted.name, changes as Partial<StreamConfig>);
}

/** A key-value bucket of JetStream: the last message of each subject. Source: ADR-8 of nats-architecture-and-design. */
export class Bucket {
  readonly #link: NatsLink;
  readonly #stream: string;
  readonly #subjects: string;
  readonly #putPrefix: string;
  readonly #api: string;
  readonly #isReplicated: boolean;
  readonly #told: string | undefined;
  readonly #window = new Window(WINDOW_MESSAGES, WINDOW_BYTES);

  constructor(link: NatsLink, name: string, isReplicated: boolean, told: string | undefined) {
    const { domain } = link.endpoint;
    this.#link = link;
    this.#stream = `KV_${name}`;
    this.#subjects = `$KV.${name}.`;
    this.#api = apiPrefix(link.endpoint);
    this.#putPrefix = domain === undefined ? '' : `${this.#api}.`;
    this.#isReplicated = isReplicated;
    this.#told = told;
  }

  /** Where what is written to a key is told; undefined: it is not. */
  toldAt(key: string): string | undefined {
    return this.#told === undefined ? undefined : this.#told + tokens(key);
  }

  /** In the order asked, from the leader: a follower may be behind what it has confirmed. */
  async read(keys: readonly string[]): Promise<readonly Entry[]> {
    const questions = keys.map((key): Question => {
      const subject = this.#subjects + tokens(key);
      if (!this.#isReplicated) return { subject: `${this.#api}.DIRECT.GET.${this.#stream}.${subject}`, payload: '' };
      return {
        subject: `${this.#api}.STREAM.MSG.GET.${this.#stream}`,
        payload: JSON.stringify({ last_by_subj: subject }),
      };
    });
    return (await this.#ask(questions)).map((answer) => (this.#isReplicated ? fromLeader(answer) : direct(answer)));
  }

  /** For each the new sequence, `undefined` where the key has another one than it should, or why it was refused. */
  async write(writes: readonly EntryWrite[]): Promise<readonly (number | undefined | LovageError)[]> {
    const questions = writes.map(({ key, value, ttlSeconds, over }): Question => {
      const about: [string, string][] = [];
      if (ttlSeconds !== undefined) about.push(['Nats-TTL', `${ttlSeconds}s`]);
      if (over !== undefined) about.push(['Nats-Expected-Last-Subject-Sequence', String(over)]);
      return { subject: this.#putPrefix + this.#subjects + tokens(key), payload: value, ...withHeaders(about) };
    });
    return this.#publish(questions);
  }

  async delete(keys: readonly string[]): Promise<void> {
    const marked = withHeaders([
      ['KV-Operation', 'PURGE'],
      ['Nats-Rollup', 'sub'],
      ['Nats-TTL', `${MARK_SECONDS}s`],
    ]);
    const questions = keys.map((key) => ({
      subject: this.#putPrefix + this.#subjects + tokens(key),
      payload: '',
      ...marked,
    }));
    for (const outcome of await this.#publish(questions)) if (isLovageError(outcome)) throw outcome;
  }

  /** Keys below a key, without it and its dot, in no order. From the leader. */
  async below(key: string): Promise<readonly string[]> {
    const subject = `${this.#subjects}${tokens(key)}.`;
    const names: string[] = [];
    for (;;) {
      const payload = JSON.stringify({ subjects_filter: `${subject}>`, offset: names.length });
      const [answer] = await this.#ask([{ subject: `${this.#api}.STREAM.INFO.${this.#stream}`, payload }]);
      const info = this.#answerOf(answer as Msg).json<{
        state?: { subjects?: Readonly<Record<string, number>> };
        total?: number;
      }>();
      const page = Object.keys(info.state?.subjects ?? {});
      names.push(...page.map((one) => one.slice(subject.length)));
      if (page.length === 0 || names.length >= (info.total ?? 0)) return names;
    }
  }

  /** Removes all keys below these, without a mark. */
  async purge(keys: readonly string[]): Promise<void> {
    const questions = keys.map((key) => ({
      subject: `${this.#api}.STREAM.PURGE.${this.#stream}`,
      payload: JSON.stringify({ filter: `${this.#subjects}${tokens(key)}.>` }),
    }));
    for (const answer of await this.#ask(questions)) this.#answerOf(answer);
  }

  async #ask(questions: readonly Question[]): Promise<readonly Msg[]> {
    const answers = await this.#link.askAll(questions, ANSWER_MS);
    return answers.map((answer) => {
      if (isLovageError(answer)) throw answer;
      if (answer.headers?.code === 503) throw this.#gone();
      return answer as Msg;
    });
  }

  async #publish(questions: readonly Question[]): Promise<readonly (number | undefined | LovageError)[]> {
    if (questions.length === 0) return [];
    const bytes = questions.reduce((sum, { payload }) => sum + payload.length, 0);
    await this.#window.enter(questions.length, bytes);
    try {
      return (await this.#link.askAll(questions, ANSWER_MS)).map((answer) => {
        if (isLovageError(answer)) return answer;
        const reply = answer as Msg;
        if (reply.headers?.code === 503) throw this.#gone();
        const { seq, error } = reply.json<{ seq?: number; error?: ApiFailure }>();
        if (error === undefined) return seq as number;
        if (error.err_code === JETSTREAM_CODES.wrongLastSequence) return undefined;
        return error.err_code === JETSTREAM_CODES.wrongLastSequenceConstant ? undefined : this.#failure(error);
      });
    } finally {
      this.#window.leave(questions.length, bytes);
    }
  }

  #answerOf(answer: Msg): Msg {
    const { error } = answer.json<{ error?: ApiFailure }>();
    if (error !== undefined) throw this.#failure(error);
    return answer;
  }

  #failure(error: ApiFailure): LovageError {
    return fromApiFailure(error, `The bucket "${this.#stream.slice('KV_'.length)}"`);
  }

  /** Whoever opens the store again makes the bucket again. */
  #gone(): LovageError {
    const error = new ConnectionLostError(
      `The stream "${this.#stream}" of the result store is not there, or has no leader.`,
    );
    this.#link.fail(error);
    return error;
  }
}

function direct(answer: Msg): Entry {
  const { headers: about, data } = answer;
  if (about?.code === 404) return NOTHING;
  if (about === undefined || about.code !== 0) {
    throw new BrokerBlockedError(`A result could not be read: NATS answered ${about?.code} ${about?.description}.`);
  }
  return entryOf(
    MARKS.some((name) => about.has(name)),
    Number(about.get('Nats-Sequence')),
    data,
  );
}

/** JetStream's code for "no message found". */
const NO_MESSAGE = 10_037;

function fromLeader(answer: Msg): Entry {
  const { message, error } = answer.json<{
    message?: { readonly seq: number; readonly hdrs?: string; readonly data?: string };
    error?: ApiFailure;
  }>();
  if (error !== undefined) {
    if (error.err_code === NO_MESSAGE) return NOTHING;
    throw fromApiFailure(error, 'A result');
  }
  const { seq = 0, hdrs = '', data = '' } = message ?? {};
  const lines = Buffer.from(hdrs, 'base64').toString().split('\r\n');
  const isMark = lines.some((line) => MARKS.some((name) => line.startsWith(`${name}:`)));
  return entryOf(isMark, seq, Buffer.from(data, 'base64'));
}

function entryOf(isMark: boolean, sequence: number, value: Uint8Array): Entry {
  return { value: isMark ? undefined : value, sequence };
}

function withHeaders(pairs: readonly (readonly [string, string])[]): { headers?: MsgHdrs } {
  if (pairs.length === 0) return {};
  const all = headers();
  for (const [name, value] of pairs) all.set(name, value);
  return { headers: all };
}

/** The tokens of a key's subject: as it is, but for what may not stand there. Reversible. */
function tokens(key: string): string {
  const parts = key.split('.');
  return parts.includes('') ? subjectToken(key) : parts.map(subjectToken).join('.');
}
