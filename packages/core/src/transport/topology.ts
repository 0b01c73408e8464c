export type ExchangeType = 'direct' | 'topic' | 'fanout' | 'headers';

/** An AMQP exchange. `''` names the default exchange, which needs no declaration. */
export interface Exchange {
  readonly name: string;
  readonly type: ExchangeType;
  /** Default true. */
  readonly durable?: boolean;
  /** Default false. */
  readonly autoDelete?: boolean;
  readonly arguments?: Readonly<Record<string, unknown>>;
}

export interface Queue {
  readonly name: string;
  /** Default true. */
  readonly durable?: boolean;
  /** Default false. */
  readonly exclusive?: boolean;
  /** Default false. */
  readonly autoDelete?: boolean;
  /** AMQP `x-` arguments: `x-max-priority`, `x-message-ttl`, `x-expires`, `x-queue-type` ... */
  readonly arguments?: Readonly<Record<string, unknown>>;
  /** Where a rejected message goes; the virtual layer does it where the broker cannot. */
  readonly deadLetter?: { readonly exchange: string; readonly routingKey: string };
}

export interface Binding {
  readonly queue: string;
  readonly exchange: string;
  readonly routingKey: string;
  readonly arguments?: Readonly<Record<string, unknown>>;
}

/** Exchanges, queues and bindings, declared in this order. */
export interface Topology {
  readonly exchanges?: readonly Exchange[];
  readonly queues?: readonly Queue[];
  readonly bindings?: readonly Binding[];
}
