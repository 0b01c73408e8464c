/**
 * The CouchDB, or PouchDB Server, that `pnpm services couchdb` started. Without one the tests are skipped, which is an
 * error where CI promises to have it.
 */
export function couchUrl(): string | undefined {
  const url = process.env['LOVAGE_TEST_COUCHDB_URL'];
  if (!url && process.env['CI'] === 'true') {
    throw new Error('LOVAGE_TEST_COUCHDB_URL is not set. Run the tests by "pnpm test:broker", which starts a server.');
  }
  return url || undefined;
}
