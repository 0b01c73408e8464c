import { expect, test } from 'vitest';
import { resourceName } from './names.ts';

test("names of streams are Kombu's", () => {
  expect(resourceName('STREAM_celery')).toBe('STREAM_celery');
  // Computed with normalize_js_resource_name of the pull request.
  expect(resourceName('STREAM_a.b')).toBe('STREAM_a_b__f89b892f4347');
  expect(resourceName('STREAM_w@h.celery.pidbox')).toMatch(/^STREAM_w@h_celery_pidbox__[0-9a-f]{12}$/);
  expect(resourceName('..')).toMatch(/^js__[0-9a-f]{12}$/);
  expect(resourceName(`STREAM_${'x'.repeat(300)}`)).toHaveLength(240);
});
