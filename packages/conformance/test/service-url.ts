/**
 * Where the server is that `pnpm services NAME` started. Without one the tests are skipped, which is an error where CI
 * promises to have it.
 */
export function serviceUrl(name: string): string | undefined {
  const variable = `LOVAGE_TEST_${name.toUpperCase()}_URL`;
  const url = process.env[variable];
  if (!url && process.env['CI'] === 'true') {
    throw new Error(`${variable} is not set. Run the tests by "pnpm test:broker", which starts the server.`);
  }
  return url || undefined;
}
