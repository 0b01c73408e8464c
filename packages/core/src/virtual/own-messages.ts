import { deliveryTagOf, isSamePayload, type OwnMessage } from './envelope.ts';

/** In characters: what is smaller is read as quickly as it is looked for. */
const LEAST_CHARS = 1024;
const MOST_CHARS = 1024 * 1024;

/**
 * The last messages that a connection has sent to queues that it also serves. The step of a chain that a worker sends to
 * itself comes back with the same text: its body need not be decoded.
 */
export class OwnMessages {
  /** By delivery tag, the oldest first. */
  readonly #sent = new Map<string, OwnMessage>();
  #chars = 0;

  static isWorthIt(payload: string): boolean {
    return payload.length >= LEAST_CHARS;
  }

  note(tag: string, payload: string, body: Uint8Array): void {
    this.#sent.set(tag, { payload, body });
    this.#chars += payload.length;
    for (const oldest of this.#sent.keys()) {
      if (this.#chars <= MOST_CHARS) break;
      this.#forget(oldest);
    }
  }

  /** A message that came back as it was sent. Answers once. */
  find(payload: string | Uint8Array): OwnMessage | undefined {
    if (this.#sent.size === 0) return undefined;
    const tag = deliveryTagOf(payload);
    const sent = this.#sent.get(tag);
    if (sent === undefined) return undefined;
    this.#forget(tag);
    return isSamePayload(payload, sent.payload) ? sent : undefined;
  }

  #forget(tag: string): void {
    this.#chars -= this.#sent.get(tag)?.payload.length ?? 0;
    this.#sent.delete(tag);
  }
}
