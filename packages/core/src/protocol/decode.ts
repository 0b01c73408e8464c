import { InvalidMessageError } from '../errors.ts';
import type { SerializerRegistry } from '../serialization/registry.ts';
import type { Message } from '../transport/message.ts';
import { ownBody } from './passed-on.ts';
import { readBody, readRequest, type Fields } from './read-request.ts';
import type { TaskBody, TaskRequest } from './task-message.ts';
import { readHybrid, readProtocol1, type WholeTask } from './v1.ts';

/** Messages whose request could not be told without their body: it is not read twice. */
const whole = new WeakMap<Message, WholeTask>();

/**
 * What a worker decides by. The body is read only where it must be: for protocol 1, and for the hybrid of both.
 *
 * Throws `InvalidMessageError` for what is no task message, `ContentDisallowedError` for a content type outside the
 * accept list, `DecodeError` for a body that had to be read and cannot be.
 * Source: celery/worker/consumer/consumer.py, create_task_handler; celery/worker/strategy.py.
 */
export function decodeTaskHeaders(message: Message, registry: SerializerRegistry): TaskRequest {
  const { headers } = message;
  const hasTask = headers['task'] !== undefined;
  if (hasTask) {
    registry.assertAccepted(message.contentType);
    if (!mayBeHybrid(message)) return readRequest(headers, message);
  }
  const body = registry.decode(message);
  if (isRecord(body)) {
    if (hasTask && Object.hasOwn(body, 'args')) return remember(message, readHybrid(body, message, registry.limits));
    if (!hasTask && Object.hasOwn(body, 'task'))
      return remember(message, readProtocol1(body, message, registry.limits));
  }
  if (hasTask)
    return remember(message, { request: readRequest(headers, message), body: readBody(body, registry.limits) });
  throw new InvalidMessageError('The message is no task: neither its headers nor its body name one.');
}

/** Arguments and continuations. Throws as {@link decodeTaskHeaders} does. */
export function decodeTaskBody(message: Message, registry: SerializerRegistry): TaskBody {
  const known = whole.get(message);
  if (known !== undefined) return known.body;
  if (message.headers['task'] === undefined) {
    decodeTaskHeaders(message, registry);
    return (whole.get(message) as WholeTask).body;
  }
  const own = registry.hasOwnJson ? ownBody(message.body) : undefined;
  if (own !== undefined) {
    const rest = registry.decode({ ...message, body: Buffer.from(own.rest) });
    return { ...readBody(rest, registry.limits), chain: own.chain };
  }
  const body = registry.decode(message);
  if (isRecord(body) && Object.hasOwn(body, 'args')) return readHybrid(body, message, registry.limits).body;
  return readBody(body, registry.limits);
}

function remember(message: Message, task: WholeTask): TaskRequest {
  whole.set(message, task);
  return task.request;
}

/** Tells most messages of protocol 2 apart without parsing: their JSON begins with a bracket. */
function mayBeHybrid({ contentType, headers, body }: Message): boolean {
  const isPlainJson = contentType === 'application/json' && !headers['compression'];
  if (isPlainJson) return firstCharacter(body) === 0x7b;
  // A hybrid leaves out what protocol 2 always has.
  return headers['timelimit'] === undefined;
}

function firstCharacter(body: Uint8Array): number | undefined {
  let at = 0;
  while (body[at] === 0x20 || body[at] === 0x0a || body[at] === 0x0d || body[at] === 0x09) at++;
  return body[at];
}

function isRecord(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !ArrayBuffer.isView(value);
}
