import { type BackendOptions, BackendUrl, type ResultBackend, type TaskMeta } from '@lovage/core/backend';
import { storeOptions, taskMeta } from '@lovage/conformance';
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
  return memcachedBackend.open(whole, storeOptions({ settings: { cacheBackendOptions }, ...more }));
}

export function meta(taskId: string, status: string, result: unknown = null): TaskMeta {
  return taskMeta(taskId, { status, result });
}
