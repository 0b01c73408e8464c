/**
 * The memcached that `pnpm services memcached` started. Without one the tests are skipped, which is an error where CI
 * promises to have it.
 */
export function memcachedUrl(): string | undefined {
  const url = process.env['LOVAGE_TEST_MEMCACHED_URL'];
  if (!url && process.env['CI'] === 'true') {
    throw new Error(
      'LOVAGE_TEST_MEMCACHED_URL is not set. Run the tests by "pnpm test:broker", which starts memcached.',
    );
  }
  return url || undefined;
}
