/**
 * The server that `pnpm services nats` started. Without one the tests are skipped, which is an error where CI promises
 * to have it.
 */
export function natsUrl(): string | undefined {
  const url = process.env['LOVAGE_TEST_NATS_URL'];
  if (!url && process.env['CI'] === 'true') {
    throw new Error('LOVAGE_TEST_NATS_URL is not set. Run the tests by "pnpm test:broker", which starts NATS.');
  }
  return url || undefined;
}
