import { createHash } from 'node:crypto';
import { DiscardPolicy, type JetStreamManager, RetentionPolicy, StorageType } from '@nats-io/jetstream';
import {
  type BindingStore,
  BrokerBlockedError,
  isLovageError,
  type LovageError,
  type StoredBinding,
  TimeoutError,
} from '@lovage/core/transport';
import { apiPrefix, fromApiFailure, type NatsLink, resourceName, subjectToken, toLovageError } from '@lovage/nats';
import { headers, type Msg } from '@nats-io/transport-node';
import { bindingSubject } from './names.ts';
import type { NatsSettings } from './options.ts';

const ANSWER_MS = 4000;
/** Bindings of queues that go with their consumer end so long after the last sign of it. */
const TRANSIENT_SECONDS = 60;

/**
 * The routing table that every process sees: a stream with the last message of each subject, a subject per binding.
 * Needs NATS 2.11: batches of direct gets, and a time to live per message.
 */
export class Bindings implements BindingStore {
  readonly #manager: JetStreamManager;
  readonly #link: NatsLink;
  readonly #settings: NatsSettings;
  readonly #isTransient: (queue: string) => boolean;
  readonly #stream: string;
  readonly #transient = new Map<string, string>();
  #ready: Promise<unknown> | undefined;
  #renewal: NodeJS.Timeout | undefined;

  constructor(
    manager: JetStreamManager,
    link: NatsLink,
    settings: NatsSettings,
    isTransient: (queue: string) => boolean,
  ) {
    this.#manager = manager;
    this.#link = link;
    this.#settings = settings;
    this.#isTransient = isTransient;
    const { subjectPrefix } = settings;
    this.#stream = resourceName(`LOVAGE_BINDINGS${subjectPrefix === '' ? '' : `_${subjectToken(subjectPrefix)}`}`);
  }

  async add(exchange: string, binding: StoredBinding): Promise<void> {
    const subject = this.#subjectOf(exchange, binding);
    const payload = JSON.stringify(binding);
    if (this.#isTransient(binding.queue)) {
      this.#transient.set(subject, payload);
      this.#renewal ??= setInterval(() => void this.#renew(), (TRANSIENT_SECONDS * 1000) / 3).unref();
    }
    await this.#ensureStream();
    await this.#write([[subject, payload]]);
  }

  async remove(exchange: string, binding: StoredBinding): Promise<void> {
    const subject = this.#subjectOf(exchange, binding);
    this.#transient.delete(subject);
    await this.#ensureStream();
    try {
      await this.#manager.streams.purge(this.#stream, { filter: subject });
    } catch (error) {
      throw this.#failure(error);
    }
  }

  async list(exchange: string): Promise<readonly StoredBinding[]> {
    await this.#ensureStream();
    const { subjectPrefix } = this.#settings;
    const api = apiPrefix(this.#settings);
    const request = JSON.stringify({ multi_last: [bindingSubject(exchange, '*', subjectPrefix)] });
    return (await this.#getAll(`${api}.DIRECT.GET.${this.#stream}`, request)).flatMap((message) => {
      const { routingKey, pattern, queue } = message.json<Partial<StoredBinding>>();
      return typeof queue === 'string' ? [{ routingKey: routingKey ?? '', pattern: pattern ?? '', queue }] : [];
    });
  }

  close(): void {
    clearInterval(this.#renewal);
  }

  /** Source: ADR-31 of nats-architecture-and-design. */
  #getAll(subject: string, request: string): Promise<readonly Msg[]> {
    return new Promise((resolve, reject) => {
      const messages: Msg[] = [];
      const end = (error?: LovageError): void => {
        clearTimeout(timer);
        inbox.end();
        if (error === undefined) resolve(messages);
        else reject(error);
      };
      const inbox = this.#link.listen({
        onReply(reply) {
          const { code = 0, description = '' } = reply.headers ?? {};
          // The end of the batch; nothing there.
          if (code === 204 || code === 404) end();
          else if (code === 0) messages.push(reply);
          else end(new BrokerBlockedError(`The table of bindings cannot be read: ${code} ${description}.`));
        },
        onLost: end,
        onDenied: (denied, error) => {
          if (denied === subject) end(error);
        },
      });
      const timer = setTimeout(
        () => end(new TimeoutError(`NATS did not give the table of bindings within ${ANSWER_MS} ms.`)),
        ANSWER_MS,
      );
      this.#link.send(subject, request, inbox.replyTo());
    });
  }

  #ensureStream(): Promise<unknown> {
    const { subjectPrefix, streamConfig } = this.#settings;
    this.#ready ??= this.#manager.streams
      .add({
        name: this.#stream,
        subjects: [bindingSubject('*', '*', subjectPrefix)],
        retention: RetentionPolicy.Limits,
        storage: StorageType.File,
        discard: DiscardPolicy.Old,
        max_msgs_per_subject: 1,
        allow_direct: true,
        allow_msg_ttl: true,
        ...(typeof streamConfig['num_replicas'] === 'number' ? { num_replicas: streamConfig['num_replicas'] } : {}),
      })
      .catch(async (error: unknown) => {
        // Made by somebody with other settings of the operator's choice: it does.
        await this.#manager.streams.info(this.#stream).catch(() => {
          this.#ready = undefined;
          throw this.#failure(error);
        });
      });
    return this.#ready;
  }

  async #write(bindings: Iterable<readonly [subject: string, payload: string]>): Promise<void> {
    const questions = [...bindings].map(([subject, payload]) => {
      if (!this.#transient.has(subject)) return { subject, payload };
      const ttl = headers();
      ttl.set('Nats-TTL', `${TRANSIENT_SECONDS}s`);
      return { subject, payload, headers: ttl };
    });
    for (const answer of await this.#link.askAll(questions, this.#settings.publishTimeoutMs)) {
      if (isLovageError(answer)) throw answer;
      const { error } = answer.json<{ error?: Parameters<typeof fromApiFailure>[0] }>();
      if (error !== undefined) throw fromApiFailure(error, 'The table of bindings');
    }
  }

  async #renew(): Promise<void> {
    try {
      await this.#write(this.#transient);
    } catch {
      // Tried again in time; a lost link is told by the link.
    }
  }

  /** Without the pattern: who removes a binding may not know the type of its exchange. */
  #subjectOf(exchange: string, { routingKey, queue }: StoredBinding): string {
    const hash = createHash('sha1')
      .update(JSON.stringify([routingKey, queue]))
      .digest('base64url');
    return bindingSubject(exchange, hash, this.#settings.subjectPrefix);
  }

  #failure(error: unknown): LovageError {
    return toLovageError(error, 'open', this.#settings.url, 'The table of bindings');
  }
}
