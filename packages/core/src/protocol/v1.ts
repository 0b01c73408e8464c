import type { SerializationLimits } from '../serialization/registry.ts';
import type { Message } from '../transport/message.ts';
import { assembleBody, readRequest, type Fields } from './read-request.ts';
import { reprArgs, reprKwargs } from './repr.ts';
import type { TaskBody, TaskRequest } from './task-message.ts';

/** A task message that had to be read as a whole. */
export interface WholeTask {
  readonly request: TaskRequest;
  readonly body: TaskBody;
}

/**
 * Protocol 1: everything is in the body; `taskset` is the group and wins over it. Times without an offset are UTC,
 * also where the sender says `utc: false`: what its local zone was is not in the message.
 * Throws `InvalidMessageError`. Source: celery/worker/strategy.py, proto1_to_proto2.
 */
export function readProtocol1(fields: Fields, message: Message, limits: SerializationLimits): WholeTask {
  const body = bodyOf(fields, limits);
  const request = readRequest(
    {
      ...fields,
      group: fields['taskset'] ?? fields['group'],
      argsrepr: reprArgs(body.args),
      kwargsrepr: reprKwargs(body.kwargs),
    },
    message,
  );
  return { request, body };
}

/**
 * The hybrid: protocol 1's body under headers of protocol 2, which win over it.
 * Throws `InvalidMessageError`. Source: celery/worker/strategy.py, hybrid_to_proto2.
 */
export function readHybrid(fields: Fields, message: Message, limits: SerializationLimits): WholeTask {
  return { request: readRequest({ ...fields, ...message.headers }, message), body: bodyOf(fields, limits) };
}

/** Protocol 1 has no chain: what follows is nested in callbacks. */
function bodyOf(fields: Fields, limits: SerializationLimits): TaskBody {
  const { args, kwargs, callbacks, errbacks, chord } = fields;
  return assembleBody(args ?? [], kwargs ?? {}, { callbacks, errbacks, chord }, limits);
}
