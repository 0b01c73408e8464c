/**
 * The server that `pnpm services dynamodb` started. Without one the tests are skipped, which is an error where CI promises
 * to have it.
 */
export function dynamodbUrl(): string | undefined {
  const url = process.env['LOVAGE_TEST_DYNAMODB_URL'];
  if (!url && process.env['CI'] === 'true') {
    throw new Error('LOVAGE_TEST_DYNAMODB_URL is not set. Run the tests by "pnpm test:broker", which starts a server.');
  }
  return url || undefined;
}
