import { isLovageError, nearestName, type Lovage } from '@lovage/core';
import type { Connection, Delivery, ExchangeType } from '@lovage/core/transport';
import { CommandError, EXIT } from '../exit-codes.ts';
import { messages } from '../count-text.ts';
import { removeQueue } from './remove-queue.ts';
import { take } from './take.ts';

/** What a command of AMQP has to say. */
export interface AdminAnswer {
  readonly text: string;
  readonly value: unknown;
}

interface AdminCommand {
  /** Names of the arguments; those in brackets may be left out. */
  readonly usage: readonly string[];
  readonly help: string;
  readonly run: (admin: BrokerAdmin, args: readonly string[]) => Promise<AdminAnswer>;
}

const OK: AdminAnswer = { text: 'OK', value: { ok: true } };

/**
 * Commands of AMQP by its own names, on every broker. Source: celery/bin/amqp.py. Unlike there, what is declared is
 * durable unless told otherwise, as all that Celery and Lovage declare for tasks is.
 */
export const ADMIN_COMMANDS: Readonly<Record<string, AdminCommand>> = {
  'exchange.declare': {
    usage: ['exchange', 'type', '[passive]', '[durable]', '[auto_delete]'],
    help: 'declare an exchange: direct, topic, fanout or headers',
    run: (admin, [name = '', type = '', passive, durable, autoDelete]) =>
      admin.declareExchange(name, type, flag(passive), flag(durable, true), flag(autoDelete)),
  },
  'exchange.delete': {
    usage: ['exchange', '[if_unused]'],
    help: 'delete an exchange',
    run: (admin, [name = '', ifUnused]) => admin.deleteExchange(name, flag(ifUnused)),
  },
  'queue.bind': {
    usage: ['queue', 'exchange', 'routing_key'],
    help: 'lead messages of an exchange with this routing key to the queue',
    run: (admin, [queue = '', exchange = '', routingKey = '']) => admin.bind(queue, exchange, routingKey),
  },
  'queue.declare': {
    usage: ['queue', '[passive]', '[durable]', '[auto_delete]'],
    help: 'declare a queue and count its messages; passive: only count them',
    run: (admin, [name = '', passive, durable, autoDelete]) =>
      admin.declareQueue(name, flag(passive), flag(durable, true), flag(autoDelete)),
  },
  'queue.delete': {
    usage: ['queue', '[if_unused]', '[if_empty]'],
    help: 'delete a queue with its messages; on condition in one step only on RabbitMQ, and not for quorum queues',
    run: (admin, [name = '', ifUnused, ifEmpty]) => admin.deleteQueue(name, flag(ifUnused), flag(ifEmpty)),
  },
  'queue.purge': {
    usage: ['queue'],
    help: 'drop the messages of a queue',
    run: (admin, [name = '']) => admin.purge(name),
  },
  'basic.get': {
    usage: ['queue', '[no_ack]'],
    help: 'take a message; it goes back at the end unless it is acknowledged, or no_ack is given',
    run: (admin, [queue = '', noAck]) => admin.get(queue, flag(noAck)),
  },
  'basic.publish': {
    usage: ['message', 'exchange', 'routing_key', '[mandatory]'],
    help: "publish a text; with the exchange '' to the queue that the routing key names",
    run: (admin, [message = '', exchange = '', routingKey = '', mandatory]) =>
      admin.publish(message, exchange, routingKey, flag(mandatory)),
  },
  'basic.ack': {
    usage: ['delivery_tag'],
    help: 'acknowledge a message that basic.get took in this session',
    run: (admin, [tag = '']) => admin.ack(tag),
  },
};

const EXCHANGE_TYPES: readonly ExchangeType[] = ['direct', 'topic', 'fanout', 'headers'];

/** A session on a broker: what it has taken is known by number. */
export class BrokerAdmin {
  readonly #app: Lovage;
  readonly #connection: Connection;
  readonly #taken = new Map<number, Delivery>();
  #tags = 0;

  constructor(app: Lovage, connection: Connection) {
    this.#app = app;
    this.#connection = connection;
  }

  /** Throws `CommandError` for what is no command. */
  run([name = '', ...args]: readonly string[]): Promise<AdminAnswer> {
    const command = Object.hasOwn(ADMIN_COMMANDS, name) ? ADMIN_COMMANDS[name] : undefined;
    if (command === undefined) {
      const names = Object.keys(ADMIN_COMMANDS);
      throw new CommandError(
        `"${name}" is no command. Expected one of: ${names.join(', ')}.${nearestName(name, names)}`,
        EXIT.usage,
      );
    }
    const { usage } = command;
    const required = usage.filter((one) => !one.startsWith('[')).length;
    if (args.length < required || args.length > usage.length) {
      throw new CommandError(`Expected: ${name} ${usage.join(' ')}`, EXIT.usage);
    }
    return command.run(this, args);
  }

  async declareExchange(
    name: string,
    type: string,
    isPassive: boolean,
    durable: boolean,
    autoDelete: boolean,
  ): Promise<AdminAnswer> {
    if (isPassive) throw new CommandError('Whether an exchange exists cannot be asked.', EXIT.usage);
    const known = EXCHANGE_TYPES.find((one) => one === type);
    if (known === undefined) {
      throw new CommandError(`"${type}" is no type of exchange. Expected ${EXCHANGE_TYPES.join(', ')}.`, EXIT.usage);
    }
    await this.#connection.declare({ exchanges: [{ name, type: known, durable, autoDelete }] });
    return OK;
  }

  async deleteExchange(name: string, ifUnused: boolean): Promise<AdminAnswer> {
    if (ifUnused && this.#connection.removeIf !== undefined) {
      await this.#connection.removeIf({ exchange: name, ifUnused }).catch((cause: unknown) => {
        if (!isLovageError(cause, 'ERR_PRECONDITION_FAILED')) throw cause;
        throw new CommandError(`Queues are bound to the exchange "${name}".`, EXIT.failed, { cause });
      });
      return OK;
    }
    if (ifUnused) {
      const bindings = await this.#connection.bindings?.(name);
      if (bindings === undefined) throw new CommandError('This broker does not tell what is bound.', EXIT.usage);
      if (bindings.length > 0) throw new CommandError(`Queues are bound to the exchange "${name}".`, EXIT.failed);
    }
    await this.#connection.remove({ exchanges: [{ name, type: 'direct' }] });
    return OK;
  }

  async bind(queue: string, exchange: string, routingKey: string): Promise<AdminAnswer> {
    // Where exchanges are known to the process that declared them only, this one has to.
    if (this.#connection.capabilities.emulated?.includes('exchanges') === true) {
      await this.#connection
        .declare({ exchanges: [{ name: exchange, type: this.#typeOf(exchange) }] })
        .catch((error: unknown) => {
          if (!isLovageError(error, 'ERR_PRECONDITION_FAILED')) throw error; // declared before, with its own type
        });
    }
    await this.#connection.declare({ bindings: [{ queue, exchange, routingKey }] });
    return OK;
  }

  #typeOf(exchange: string): ExchangeType {
    const declared = this.#app.queues.all().flatMap(({ topology }) => topology.exchanges ?? []);
    return declared.find(({ name }) => name === exchange)?.type ?? 'direct';
  }

  async declareQueue(name: string, isPassive: boolean, durable: boolean, autoDelete: boolean): Promise<AdminAnswer> {
    if (!isPassive) await this.#connection.declare({ queues: [{ name, durable, autoDelete }] });
    const { ready, consumers } = await this.#connection.inspect(name);
    return {
      text: `queue:${name} messages:${ready}${consumers === undefined ? '' : ` consumers:${consumers}`}\nOK`,
      value: { queue: name, messages: ready, consumers: consumers ?? null },
    };
  }

  async deleteQueue(name: string, ifUnused: boolean, ifEmpty: boolean): Promise<AdminAnswer> {
    const removal = await removeQueue(this.#connection, name, { ifUnused, ifEmpty });
    if ('kept' in removal) throw new CommandError(`The queue "${name}" was not deleted: ${removal.kept}.`, EXIT.failed);
    const { deleted } = removal;
    return { text: `${messages(deleted)} deleted.\nOK`, value: { deleted } };
  }

  async purge(name: string): Promise<AdminAnswer> {
    const deleted = await this.#connection.purge(name);
    return { text: `${messages(deleted)} deleted.\nOK`, value: { deleted } };
  }

  async get(queue: string, noAck: boolean): Promise<AdminAnswer> {
    const [delivery] = await take(this.#connection, queue, 1);
    if (delivery === undefined) return { text: 'No messages in queue. basic.publish something.', value: null };
    const tag = ++this.#tags;
    if (noAck) await this.#connection.settle([{ delivery, outcome: 'ack' }]);
    else this.#taken.set(tag, delivery);
    const value = { ...messageValue(delivery), delivery_tag: tag };
    return { text: `${JSON.stringify(value, undefined, 2)}\nOK`, value };
  }

  async publish(text: string, exchange: string, routingKey: string, mandatory: boolean): Promise<AdminAnswer> {
    const message = {
      body: Buffer.from(text),
      contentType: 'text/plain',
      contentEncoding: 'utf-8',
      headers: {},
      properties: { deliveryMode: 2 as const },
    };
    await this.#connection.publish([{ exchange, routingKey, message, mandatory }]);
    return OK;
  }

  async ack(tag: string): Promise<AdminAnswer> {
    const delivery = this.#taken.get(Number(tag));
    if (delivery === undefined) {
      throw new CommandError(`No message of this session has the delivery tag ${tag}.`, EXIT.failed);
    }
    await this.#connection.settle([{ delivery, outcome: 'ack' }]);
    this.#taken.delete(Number(tag));
    return OK;
  }
}

/** A message as JSON: its body as text where it is text, else in base64. */
export function messageValue({ message, queue, exchange, routingKey, redelivered, deliveryCount }: Delivery): {
  readonly body: string;
} & Readonly<Record<string, unknown>> {
  const { body, contentType, contentEncoding, headers, properties } = message;
  const bytes = Buffer.from(body);
  const text = bytes.toString('utf8');
  const isText = Buffer.from(text).equals(bytes);
  return {
    body: isText ? text : bytes.toString('base64'),
    ...(isText ? {} : { body_encoding: 'base64' }),
    content_type: contentType,
    content_encoding: contentEncoding,
    headers: { ...headers },
    properties,
    delivery_info: { queue, exchange, routing_key: routingKey, redelivered, delivery_count: deliveryCount },
  };
}

/** As click reads them. */
function flag(text: string | undefined, otherwise = false): boolean {
  if (text === undefined) return otherwise;
  if (/^(?:1|true|t|yes|y|on)$/i.test(text)) return true;
  if (/^(?:0|false|f|no|n|off)$/i.test(text)) return false;
  throw new CommandError(`"${text}" is neither true nor false.`, EXIT.usage);
}
