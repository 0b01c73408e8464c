/**
 * The Redis that `pnpm services redis` started. Without one the tests are skipped, which is an error where CI promises
 * to have it.
 */
export function redisUrl(): string | undefined {
  const url = process.env['LOVAGE_TEST_REDIS_URL'];
  if (!url && process.env['CI'] === 'true') {
    throw new Error('LOVAGE_TEST_REDIS_URL is not set. Run the tests by "pnpm test:broker", which starts Redis.');
  }
  return url || undefined;
}
