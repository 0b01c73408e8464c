import type { Message } from '../transport/message.ts';
import { reprArgs, reprKwargs } from './repr.ts';
import type { TaskBody, TaskRequest } from './task-message.ts';
import { assembleBody, readRequest } from './v2.ts';

type Fields = Readonly<Record<string, unknown>>;

/** Reads the fields of a protocol 1 body. Source: celery/worker/strategy.py, proto1_to_proto2. */
export function readProtocol1Request(fields: Fields, message: Message): TaskRequest {
  const request = readRequest({ ...fields, group: fields.taskset ?? fields.group }, message);
  const { args, kwargs } = readProtocol1Body(fields);
  return { ...request, argsrepr: reprArgs(args), kwargsrepr: reprKwargs(kwargs) };
}

/** Protocol 1 has no chain: it nests callbacks. */
export function readProtocol1Body(fields: Fields): TaskBody {
  const { args, kwargs, callbacks, errbacks, chord } = fields;
  return assembleBody(args, kwargs, { callbacks, errbacks, chord });
}
