/**
 * The MongoDB that `pnpm services mongodb` started. Without one the tests are skipped, which is an error where CI
 * promises to have it.
 */
export function mongodbUrl(database: string): string | undefined {
  const url = process.env['LOVAGE_TEST_MONGODB_URL'];
  if (!url) {
    if (process.env['CI'] === 'true')
      throw new Error('LOVAGE_TEST_MONGODB_URL is not set. Run the tests by "pnpm test:broker", which starts MongoDB.');
    return undefined;
  }
  // A member of a replica set is reached by itself, through whatever link, without asking it for the others.
  return `${url.replace(/^(mongodb:\/\/[^/]*)(\/[^?]*)?(\?.*)?$/, `$1/${database}`)}?directConnection=true`;
}
