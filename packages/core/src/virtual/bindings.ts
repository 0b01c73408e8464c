import { PreconditionFailedError, UnsupportedError } from '../errors.ts';
import type { Binding, Exchange, ExchangeType } from '../transport/topology.ts';
import type { StoredBinding } from './driver.ts';
import { isRouted, matchesTopic, topicPattern } from './routing.ts';

/**
 * The exchanges that this process declared at one broker, and its bindings. Brokers with only queues know neither, so
 * the connections of a process to one URL share a table. Source: kombu/transport/virtual/base.py, BrokerState.
 */
export class RoutingTable {
  readonly #exchanges = new Map<string, Exchange>();
  readonly #bindings = new Map<string, Map<string, StoredBinding>>();

  /** `UnsupportedError` for a headers exchange, `PreconditionFailedError` for one that has another type already. */
  declareExchange(exchange: Exchange): void {
    const { name, type } = exchange;
    if (type === 'headers') {
      throw new UnsupportedError(
        `The headers exchange "${name}" is not possible on this broker. Use a direct, topic or fanout exchange.`,
        {
          facts: { exchange: name },
        },
      );
    }
    const known = this.#exchanges.get(name);
    if (known !== undefined && known.type !== type) {
      throw new PreconditionFailedError(`The exchange "${name}" exists with type "${known.type}", not "${type}".`, {
        facts: { exchange: name },
      });
    }
    this.#exchanges.set(name, exchange);
  }

  removeExchange(name: string): void {
    this.#exchanges.delete(name);
    this.#bindings.delete(name);
  }

  /** undefined: not declared in this process. */
  typeOf(exchange: string): ExchangeType | undefined {
    return this.#exchanges.get(exchange)?.type;
  }

  bind(binding: Binding): void {
    let stored = this.#bindings.get(binding.exchange);
    if (stored === undefined) this.#bindings.set(binding.exchange, (stored = new Map()));
    stored.set(keyOf(binding), this.stored(binding));
  }

  unbind(binding: Binding): void {
    this.#bindings.get(binding.exchange)?.delete(keyOf(binding));
  }

  /** Those that this process declared. */
  bindingsFrom(exchange: string): Iterable<StoredBinding> {
    return this.#bindings.get(exchange)?.values() ?? [];
  }

  bindingsTo(queue: string): readonly Binding[] {
    return [...this.#bindings].flatMap(([exchange, stored]) =>
      [...stored.values()]
        .filter((binding) => binding.queue === queue)
        .map(({ routingKey }) => ({ queue, exchange, routingKey })),
    );
  }

  /** The form in which a broker keeps it. */
  stored({ queue, exchange, routingKey }: Binding): StoredBinding {
    return { queue, routingKey, pattern: this.typeOf(exchange) === 'topic' ? topicPattern(routingKey) : '' };
  }

  /** The queues, each once, that a message goes to. */
  route(exchange: string, routingKey: string, bindings: Iterable<StoredBinding>): readonly string[] {
    const type = this.typeOf(exchange);
    const queues = new Set<string>();
    for (const binding of bindings) {
      // An exchange that another process declared is direct, as in Kombu, unless the binding shows that it is a topic.
      const matches =
        type === undefined && binding.pattern !== ''
          ? matchesTopic(binding.routingKey, routingKey)
          : isRouted(type ?? 'direct', binding.routingKey, routingKey);
      if (matches) queues.add(binding.queue);
    }
    return [...queues];
  }
}

function keyOf({ queue, routingKey }: Binding): string {
  return `${queue}\0${routingKey}`;
}
