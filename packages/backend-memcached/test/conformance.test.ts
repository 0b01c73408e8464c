import { memcachedBackend } from '@lovage/backend-memcached';
import { backendConformance } from '@lovage/conformance';
import { BackendUrl } from '@lovage/core/backend';
import { test } from 'vitest';
import { openLink } from '../src/link.ts';
import { readSettings, type ServerSettings } from '../src/options.ts';
import { serviceUrl } from '../../conformance/test/service-url.ts';

const url = serviceUrl('memcached');

if (url === undefined) test.skip('conformance (no LOVAGE_TEST_MEMCACHED_URL)', () => {});
else {
  backendConformance({
    test,
    backend: memcachedBackend,
    url,
    defaultPort: 11211,
    // Source: celery/backends/base.py, on_chord_part_return.
    pythonPart: async (groupId, { taskId, state, result }) => {
      const settings = readSettings(new BackendUrl(url), { settings: {} });
      const link = await openLink(settings.servers[0] as ServerSettings, settings);
      const data = Buffer.from(JSON.stringify({ status: state, result, task_id: taskId }));
      await link.store('set', { key: `celery-task-meta-${taskId}`, data, flags: 16, exptime: 60 });
      await link.increment(`chord-unlock-${groupId}`);
      link.close();
    },
  });
}
