/**
 * The server that `pnpm services beanstalk` started. Without one the tests are skipped, which is an error where CI promises
 * to have it.
 */
export function beanstalkUrl(): string | undefined {
  const url = process.env['LOVAGE_TEST_BEANSTALK_URL'];
  if (!url && process.env['CI'] === 'true') {
    throw new Error(
      'LOVAGE_TEST_BEANSTALK_URL is not set. Run the tests by "pnpm test:broker", which starts beanstalkd.',
    );
  }
  return url || undefined;
}
