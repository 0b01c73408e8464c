import { type BackendOptions, BackendUrl, type ResultBackend, type TaskMeta } from '@lovage/core/backend';
import { memcachedBackend } from '@lovage/backend-memcached';

/** A store as an app opens it: servers with `;` between. */
export function openStore(
  url: string,
  cacheBackendOptions: Readonly<Record<string, unknown>> = {},
  more: Partial<BackendOptions> = {},
): Promise<ResultBackend> {
  const [first = '', ...members] = url.split(';');
  const whole = new BackendUrl(
    first,
    members.map((member) => new BackendUrl(`cache+memcached://${member}`)),
  );
  return memcachedBackend.open(whole, {
    expiresSeconds: 3600,
    settings: { cacheBackendOptions },
    codec: {
      contentType: 'application/json',
      contentEncoding: 'utf-8',
      encode: (value) => JSON.stringify(value),
      decode: (data) => JSON.parse(typeof data === 'string' ? data : Buffer.from(data).toString()) as unknown,
    },
    oid: 'oid',
    brokerConnection: () => Promise.reject(new Error('none')),
    ...more,
  });
}

export function meta(task_id: string, status: string, result: unknown = null): TaskMeta {
  return { status, result, traceback: null, children: [], date_done: null, task_id };
}
