import { type LovageError, MessageTooLargeError, NotFoundError, UnsupportedError } from '@lovage/core/transport';
import type { HttpLink, HttpReply } from '@lovage/http';
import type { IronSettings } from './options.ts';

/** IronMQ's limits for one request. Source: iron-io/docs, mq/3/reference/api. */
export const MAX_MESSAGES = 100;

export interface Reserved {
  readonly id: string;
  readonly body: string;
  /** Reservations and touches so far. */
  readonly reserved_count: number;
  readonly reservation_id: string;
}

/** IronMQ's HTTP API v3, one method per request. Source: iron-io/docs, mq/3/reference/api. */
export class IronQueues {
  readonly lost: Promise<never>;
  readonly #link: HttpLink;
  readonly #settings: IronSettings;

  constructor(link: HttpLink, settings: IronSettings) {
    this.#link = link;
    this.lost = link.lost;
    this.#settings = settings;
  }

  /** `AuthError` where the token or the project is not known. */
  async check(signal: AbortSignal): Promise<void> {
    const path = `${this.#settings.basePath}/queues?per_page=1`;
    const reply = await this.#link.request({ method: 'GET', path, signal });
    // A project without queues may be a 404.
    if (reply.status !== 200 && reply.status !== 404) throw this.#unexpected(reply);
  }

  /** Creates a pull queue; one that exists stays as it is. */
  async ensure(queue: string): Promise<void> {
    const present = await this.#link.request({ method: 'GET', path: this.#path(queue) });
    const made =
      present.status === 404
        ? await this.#link.request({
            method: 'PUT',
            path: this.#path(queue),
            body: { queue: { type: 'pull', message_expiration: this.#settings.messageExpiration } },
          })
        : present;
    if (made.status > 299) throw this.#unexpected(made);
    const { type = 'pull' } = queueIn(made);
    if (type !== 'pull') {
      throw new UnsupportedError(
        `The queue "${queue}" of IronMQ is a push queue (${type}), which nobody can consume. Use another name, or remove it first.`,
        { facts: { queue } },
      );
    }
  }

  /** Waiting and delayed messages. */
  async size(queue: string): Promise<number> {
    const reply = await this.#link.request({ method: 'GET', path: this.#path(queue) });
    if (reply.status === 404) {
      throw new NotFoundError(`IronMQ has no queue "${queue}".`, { facts: { queue } });
    }
    if (reply.status > 299) throw this.#unexpected(reply);
    return queueIn(reply).size ?? 0;
  }

  async remove(queue: string): Promise<void> {
    const reply = await this.#link.request({ method: 'DELETE', path: this.#path(queue) });
    if (reply.status > 299 && reply.status !== 404) throw this.#unexpected(reply);
  }

  /** `messages` is the JSON of a list. */
  async post(queue: string, messages: string): Promise<void> {
    const path = `${this.#path(queue)}/messages`;
    const reply = await this.#link.request({ method: 'POST', path, body: `{"messages":${messages}}` });
    if (reply.status === 413) {
      throw new MessageTooLargeError(`IronMQ does not take a request of this size: ${textOf(reply)}`, {
        facts: { queue },
      });
    }
    if (reply.status > 299) throw this.#refusal(reply, queue);
  }

  /** Empty where nothing came while it waited, or where there is no such queue. */
  async reserve(queue: string, count: number, waitSeconds: number, signal?: AbortSignal): Promise<readonly Reserved[]> {
    const reply = await this.#link.request({
      method: 'POST',
      path: `${this.#path(queue)}/reservations`,
      body: { n: Math.min(count, MAX_MESSAGES), timeout: this.#settings.reservationSeconds, wait: waitSeconds },
      waitMs: waitSeconds * 1000,
      signal,
    });
    if (reply.status === 404) return [];
    const { messages } = (reply.body ?? {}) as { readonly messages?: readonly Reserved[] };
    if (reply.status > 299 || !Array.isArray(messages)) throw this.#unexpected(reply);
    return messages as readonly Reserved[];
  }

  /** False where at least one is not reserved so any more: then it is unknown which of them are gone. */
  async delete(
    queue: string,
    ids: readonly { readonly id: string; readonly reservation_id: string }[],
  ): Promise<boolean> {
    const reply = await this.#link.request({ method: 'DELETE', path: `${this.#path(queue)}/messages`, body: { ids } });
    return this.#isDone(reply);
  }

  /** The new reservation; undefined where the present one is over. */
  async touch(queue: string, id: string, reservation: string): Promise<string | undefined> {
    const reply = await this.#link.request({
      method: 'POST',
      path: `${this.#path(queue)}/messages/${encodeURIComponent(id)}/touch`,
      body: { reservation_id: reservation, timeout: this.#settings.reservationSeconds },
    });
    if (!this.#isDone(reply)) return undefined;
    return (reply.body as { readonly reservation_id?: string } | undefined)?.reservation_id;
  }

  /** At once for others. */
  async release(queue: string, id: string, reservation: string): Promise<void> {
    const reply = await this.#link.request({
      method: 'POST',
      path: `${this.#path(queue)}/messages/${encodeURIComponent(id)}/release`,
      body: { reservation_id: reservation, delay: 0 },
    });
    this.#isDone(reply);
  }

  async clear(queue: string): Promise<void> {
    const reply = await this.#link.request({ method: 'DELETE', path: `${this.#path(queue)}/messages`, body: {} });
    if (reply.status > 299 && reply.status !== 404) throw this.#unexpected(reply);
  }

  close(): void {
    this.#link.close();
  }

  #path(queue: string): string {
    return `${this.#settings.basePath}/queues/${encodeURIComponent(queue)}`;
  }

  /** 403: the reservation timed out. 404: the message, or its queue, is gone. */
  #isDone(reply: HttpReply): boolean {
    if (reply.status === 403 || reply.status === 404) return false;
    if (reply.status > 299) throw this.#unexpected(reply);
    return true;
  }

  #refusal(reply: HttpReply, queue: string): LovageError {
    return new UnsupportedError(`IronMQ did not take a message (${reply.status}): ${textOf(reply)}`, {
      facts: { queue, status: reply.status },
    });
  }

  #unexpected(reply: HttpReply): LovageError {
    return this.#link.fail(this.#link.unexpected(reply.status, reply.body));
  }
}

function queueIn({ body }: HttpReply): { readonly type?: string; readonly size?: number } {
  const { queue } = (body ?? {}) as { readonly queue?: { readonly type?: string; readonly size?: number } };
  return queue ?? {};
}

function textOf({ body }: HttpReply): string {
  const { msg } = (body ?? {}) as { readonly msg?: string };
  return `${msg ?? 'no reason given'}.`.replace(/\.\.$/, '.');
}
