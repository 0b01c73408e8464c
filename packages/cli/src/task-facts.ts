import type { Message } from '@lovage/core/transport';

/** What a message tells of its task without being trusted for anything; undefined: it does not say. */
export interface TaskFacts {
  readonly id?: string;
  readonly task?: string;
  readonly eta?: string;
  readonly expires?: string;
  readonly args?: string;
  readonly kwargs?: string;
}

/**
 * Of protocol 2 from the headers; of protocol 1 from the body, where that is plain JSON. Never throws: these messages
 * may be anything. Source: Celery message protocol, versions 1 and 2.
 */
export function readTaskFacts({ headers, properties, body, contentType }: Message): TaskFacts {
  const fields = typeof headers['task'] === 'string' ? headers : contentType === 'application/json' ? parse(body) : {};
  const { id = properties.correlationId, task, eta, expires, argsrepr, kwargsrepr, args, kwargs } = fields;
  return {
    ...pick('id', id),
    ...pick('task', task),
    ...pick('eta', eta),
    ...pick('expires', expires),
    ...pick('args', argsrepr ?? asText(args)),
    ...pick('kwargs', kwargsrepr ?? asText(kwargs)),
  };
}

function pick(name: string, value: unknown): Readonly<Record<string, string>> {
  return typeof value === 'string' ? { [name]: value } : {};
}

function asText(value: unknown): string | undefined {
  return value === undefined || value === null ? undefined : JSON.stringify(value);
}

function parse(body: Uint8Array): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(Buffer.from(body).toString('utf8'));
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Readonly<Record<string, unknown>>)
      : {};
  } catch {
    return {};
  }
}
