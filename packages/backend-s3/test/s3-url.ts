/**
 * The server that `pnpm services s3` started. Without one the tests are skipped, which is an error where CI promises to
 * have it.
 */
export function s3Url(): string | undefined {
  const url = process.env['LOVAGE_TEST_S3_URL'];
  if (!url && process.env['CI'] === 'true') {
    throw new Error('LOVAGE_TEST_S3_URL is not set. Run the tests by "pnpm test:broker", which starts a server.');
  }
  return url || undefined;
}
