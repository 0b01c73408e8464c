import { runInNewContext } from 'node:vm';
import { InvalidMessageError } from '../errors.ts';
import type { SerializerRegistry } from '../serialization/registry.ts';
import type { Message } from '../transport/message.ts';
import type { Exchange, Queue, Topology } from '../transport/topology.ts';
import { listenerQueue } from './listener-queue.ts';

/** How remote control is set up. Times are seconds, null: none. */
export interface PidboxSettings {
  readonly controlExchange: string;
  readonly controlQueueTtl: number | null;
  readonly controlQueueExpires: number | null;
  readonly controlQueueDurable: boolean;
  readonly controlQueueExclusive: boolean;
}

/** A command on its way to workers. Source: kombu/pidbox.py, Mailbox._publish. */
export interface ControlCommand {
  readonly method: string;
  readonly arguments: Readonly<Record<string, unknown>>;
  /** Node names; undefined: all nodes, or those that `pattern` fits. */
  readonly destination: readonly string[] | undefined;
  readonly pattern: string | undefined;
  /** `glob` or `pcre`; how `pattern` is read. */
  readonly matcher: string | undefined;
  /** undefined: no answer is wanted. */
  readonly replyTo: ReplyAddress | undefined;
}

export interface ReplyAddress {
  readonly exchange: string;
  readonly routingKey: string;
  readonly ticket: string;
}

/** The exchange that every node listens to. Source: kombu/pidbox.py, Mailbox.exchange_fmt. */
export function controlExchange({ controlExchange: name }: PidboxSettings): Exchange {
  return { name: `${name}.pidbox`, type: 'fanout', durable: false };
}

/** The exchange of the answers. Source: kombu/pidbox.py, Mailbox.reply_exchange_fmt. */
export function replyExchange({ controlExchange: name }: PidboxSettings): Exchange {
  return { name: `reply.${name}.pidbox`, type: 'direct', durable: false };
}

/** A node's own queue with its binding. Source: kombu/pidbox.py, Mailbox.get_queue. */
export function mailboxTopology(nodeName: string, settings: PidboxSettings): Topology & { readonly queue: string } {
  const exchange = controlExchange(settings);
  const queue = `${nodeName}.${settings.controlExchange}.pidbox`;
  return {
    queue,
    exchanges: [exchange],
    queues: [queueOf(queue, settings)],
    bindings: [{ queue, exchange: exchange.name, routingKey: '' }],
  };
}

/** The queue of one asker with its binding. Source: kombu/pidbox.py, Mailbox.get_reply_queue. */
export function replyTopology(oid: string, settings: PidboxSettings): Topology & { readonly queue: string } {
  const exchange = replyExchange(settings);
  const queue = `${oid}.${exchange.name}`;
  return {
    queue,
    exchanges: [exchange],
    queues: [queueOf(queue, settings)],
    bindings: [{ queue, exchange: exchange.name, routingKey: oid }],
  };
}

function queueOf(name: string, settings: PidboxSettings): Queue {
  return listenerQueue(name, {
    durable: settings.controlQueueDurable,
    exclusive: settings.controlQueueExclusive,
    expires: settings.controlQueueExpires,
    ttl: settings.controlQueueTtl,
  });
}

export interface CommandFacts {
  readonly clock: number;
  /** Epoch seconds after which nobody waits for answers; 0: nobody does at all. */
  readonly expires: number;
  readonly serializer: string;
}

/** The message of a command, in the order of Kombu's fields. Throws `EncodeError`. */
export function encodeCommand(
  command: ControlCommand,
  { clock, expires, serializer }: CommandFacts,
  serializers: SerializerRegistry,
): Message {
  const { method, destination, pattern, matcher, replyTo } = command;
  const body = {
    method,
    arguments: command.arguments,
    destination: destination ?? null,
    pattern: pattern ?? null,
    matcher: matcher ?? null,
    ...(replyTo === undefined
      ? {}
      : { ticket: replyTo.ticket, reply_to: { exchange: replyTo.exchange, routing_key: replyTo.routingKey } }),
  };
  return {
    ...serializers.encode(serializer, body),
    headers: { clock, expires },
    properties: { deliveryMode: 2, priority: 0 },
  };
}

/** Throws `InvalidMessageError` for what is no command, and what decoding throws. */
export function decodeCommand(message: Message, serializers: SerializerRegistry): ControlCommand {
  const body = serializers.decode(message);
  if (!isRecord(body)) throw new InvalidMessageError('A control message is no object. Expected { method, arguments }.');
  const { method, destination, pattern, matcher, ticket } = body;
  if (typeof method !== 'string' || method === '' || method.length > 255) {
    throw new InvalidMessageError('A control message names no method. Expected a text of 1 to 255 characters.');
  }
  const given = body['arguments'] ?? {};
  if (!isRecord(given)) {
    throw new InvalidMessageError(`The arguments of the control command "${method}" are no object.`);
  }
  return {
    method,
    arguments: given,
    destination: nodesOf(destination),
    pattern: textOf(pattern),
    matcher: textOf(matcher),
    replyTo: addressOf(body['reply_to'], ticket),
  };
}

function nodesOf(destination: unknown): readonly string[] | undefined {
  if (typeof destination === 'string' && destination !== '') return [destination];
  if (!Array.isArray(destination) || destination.length === 0) return undefined;
  return destination.filter((node) => typeof node === 'string');
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function addressOf(replyTo: unknown, ticket: unknown): ReplyAddress | undefined {
  if (!isRecord(replyTo)) return undefined;
  const { exchange, routing_key: routingKey } = replyTo;
  if (typeof exchange !== 'string' || exchange === '' || typeof routingKey !== 'string') return undefined;
  return { exchange, routingKey, ticket: typeof ticket === 'string' ? ticket : '' };
}

/** One node's answer. Source: kombu/pidbox.py, Mailbox._publish_reply. */
export function encodeReply(
  nodeName: string,
  value: unknown,
  { ticket, clock, serializer }: { readonly ticket: string; readonly clock: number; readonly serializer: string },
  serializers: SerializerRegistry,
): Message {
  return {
    ...serializers.encode(serializer, { [nodeName]: value }),
    headers: { ticket, clock },
    properties: { deliveryMode: 1, priority: 0 },
  };
}

/** The answers in a message by node; undefined: it is no answer. Throws what decoding throws. */
export function decodeReply(
  message: Message,
  serializers: SerializerRegistry,
): Readonly<Record<string, unknown>> | undefined {
  const body = serializers.decode(message);
  return isRecord(body) ? body : undefined;
}

/**
 * True when a command is for this node: it is named, or the pattern fits, or neither is given.
 * Source: kombu/pidbox.py, Node.handle_message; kombu/matcher.py.
 */
export function isAddressedTo(
  nodeName: string,
  { destination, pattern, matcher }: Pick<ControlCommand, 'destination' | 'pattern' | 'matcher'>,
): boolean {
  if (destination !== undefined) return destination.includes(nodeName);
  if (pattern === undefined || matcher === undefined) return true;
  return matchesNode(nodeName, pattern, matcher);
}

/** Throws `InvalidMessageError` for a matcher that is unknown or a pattern that is too long or no pattern. */
export function matchesNode(nodeName: string, pattern: string, matcher: string): boolean {
  if (pattern.length > MAX_PATTERN) {
    throw new InvalidMessageError(`The node pattern has ${pattern.length} characters, more than ${MAX_PATTERN}.`);
  }
  if (matcher === 'glob') return matchesGlob(nodeName, pattern);
  if (matcher !== 'pcre') {
    throw new InvalidMessageError(`The matcher ${JSON.stringify(matcher)} is unknown. Expected "glob" or "pcre".`);
  }
  try {
    // Python's re.match: at the beginning of the name, not necessarily to its end. With a time limit: an expression
    // from outside may backtrack for hours.
    const source = `^(?:${pattern})`;
    return runInNewContext('new RegExp(source, "u").test(nodeName)', { source, nodeName }, { timeout: 100 }) === true;
  } catch (cause) {
    throw new InvalidMessageError(
      `The node pattern ${JSON.stringify(pattern)} is no regular expression, or takes too long.`,
      { cause },
    );
  }
}

const MAX_PATTERN = 255;

/** `*`, `?`, `[abc]`, `[!a-c]`, without backtracking that a pattern from outside could make endless. */
function matchesGlob(text: string, pattern: string): boolean {
  return matchTokens(text, tokensOf(pattern));
}

type Token = '*' | '?' | { readonly has: (character: string) => boolean };

function tokensOf(pattern: string): readonly Token[] {
  const tokens: Token[] = [];
  for (let index = 0; index < pattern.length; index++) {
    const character = pattern[index] as string;
    const end = character === '[' ? pattern.indexOf(']', index + 2) : -1;
    if (character === '*' || character === '?') tokens.push(character);
    else if (end > 0) {
      tokens.push({ has: characterClass(pattern.slice(index + 1, end)) });
      index = end;
    } else tokens.push({ has: (other) => other === character });
  }
  return tokens;
}

function characterClass(body: string): (character: string) => boolean {
  const isNegated = body.startsWith('!');
  const members = isNegated ? body.slice(1) : body;
  return (character) => {
    let found = false;
    for (let index = 0; index < members.length && !found; index++) {
      if (members[index + 1] === '-' && index + 2 < members.length) {
        found = (members[index] as string) <= character && character <= (members[index + 2] as string);
        index += 2;
      } else found = members[index] === character;
    }
    return found !== isNegated;
  };
}

function matchTokens(text: string, tokens: readonly Token[]): boolean {
  let at = 0;
  let token = 0;
  let starToken = -1;
  let starAt = 0;
  while (at < text.length) {
    const current = tokens[token];
    if (current === '*') {
      starToken = token++;
      starAt = at;
    } else if (current !== undefined && (current === '?' || current.has(text[at] as string))) {
      token++;
      at++;
    } else if (starToken >= 0) {
      token = starToken + 1;
      at = ++starAt;
    } else return false;
  }
  while (tokens[token] === '*') token++;
  return token === tokens.length;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
