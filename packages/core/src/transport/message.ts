/** Application headers of a message. Parsed ones come from outside: own properties only, null prototype. */
export type MessageHeaders = Readonly<Record<string, unknown>>;

export interface MessageProperties {
  readonly correlationId?: string;
  readonly replyTo?: string;
  /** 2: persistent, 1: transient. */
  readonly deliveryMode?: 1 | 2;
  /** 0 to 9. Which end is served first is the broker's rule; see `Capabilities.servesFirst`. */
  readonly priority?: number;
  /** Milliseconds that the broker may keep the message, as decimal text (AMQP `expiration`). */
  readonly expiration?: string;
}

/** What travels through a broker: bytes with their content type, headers and properties. */
export interface Message {
  readonly body: Uint8Array;
  /** MIME type; `''` when the sender gave none. */
  readonly contentType: string;
  /** `utf-8` or `binary`; `''` when the sender gave none. */
  readonly contentEncoding: string;
  readonly headers: MessageHeaders;
  readonly properties: MessageProperties;
}
