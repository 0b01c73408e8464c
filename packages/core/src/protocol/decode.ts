import { InvalidMessageError } from '../errors.ts';
import type { SerializerRegistry } from '../serialization/registry.ts';
import type { Message } from '../transport/message.ts';
import type { TaskBody, TaskRequest } from './task-message.ts';
import { readProtocol1Body, readProtocol1Request } from './v1.ts';
import { assembleBody, readBody, readRequest } from './v2.ts';

type Fields = Readonly<Record<string, unknown>>;

/**
 * What the worker decides by, without reading the body where protocol 2 allows it. Throws `InvalidMessageError`,
 * `DecodeError` or `ContentDisallowedError`. Source: celery/worker/strategy.py; celery/worker/consumer/consumer.py.
 */
export function decodeTaskHeaders(message: Message, registry: SerializerRegistry): TaskRequest {
  if ('task' in message.headers) return readRequest(message.headers, message);
  return readProtocol1Request(protocol1Fields(message, registry), message);
}

/** Arguments and continuations. Throws as {@link decodeTaskHeaders} does. */
export function decodeTaskBody(message: Message, registry: SerializerRegistry): TaskBody {
  if (!('task' in message.headers)) return readProtocol1Body(protocol1Fields(message, registry));
  const body = registry.decode(message);
  if (!Array.isArray(body) && typeof body === 'object' && body !== null && 'args' in body) {
    // The hybrid: protocol 2's headers over protocol 1's body.
    const { args, kwargs, ...embed } = body as Fields;
    return assembleBody(args, kwargs, embed);
  }
  return readBody(body);
}

function protocol1Fields(message: Message, registry: SerializerRegistry): Fields {
  const body = registry.decode(message);
  if (typeof body === 'object' && body !== null && !Array.isArray(body) && 'task' in body) return body as Fields;
  throw new InvalidMessageError('The message is no task: neither its headers nor its body name one.');
}
