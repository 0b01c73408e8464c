import {
  type BackendOptions,
  EncodeError,
  type ResultCodec,
  type TaskMeta,
  UnsupportedError,
} from '@lovage/core/backend';

/** Plain JSON; a symbol cannot be encoded, which the kit uses for writes that fail for their own sake. */
export const jsonCodec: ResultCodec = {
  contentType: 'application/json',
  contentEncoding: 'utf-8',
  encode(value) {
    try {
      return JSON.stringify(value, (key, item: unknown) => {
        if (typeof item === 'symbol') throw new TypeError(`"${key}" is a symbol, which JSON does not know.`);
        return item;
      });
    } catch (cause) {
      throw new EncodeError('The value cannot be written as JSON.', { cause });
    }
  },
  decode(data) {
    return JSON.parse(typeof data === 'string' ? data : new TextDecoder().decode(data)) as unknown;
  },
};

/** What a test opens a store with: plain JSON, an hour until results expire, no broker; unless `own` says otherwise. */
export function storeOptions(own: Partial<BackendOptions> = {}): BackendOptions {
  return {
    expiresSeconds: 3600,
    settings: {},
    codec: jsonCodec,
    oid: 'oid',
    brokerConnection: () => Promise.reject(new UnsupportedError('This test has no broker.')),
    ...own,
  };
}

/** The state of a task that has succeeded with null, unless `own` says otherwise. */
export function taskMeta(taskId: string, own: Partial<TaskMeta> = {}): TaskMeta {
  return { status: 'SUCCESS', result: null, traceback: null, children: [], date_done: null, task_id: taskId, ...own };
}
