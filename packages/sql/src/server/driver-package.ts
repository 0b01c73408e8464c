import { ConnectError, importInstalled } from '@lovage/core/transport';

/**
 * The client of a database server, which applications install themselves. Throws `ConnectError` that says what to
 * install.
 */
export async function loadDriver<Driver>(name: string, what: string): Promise<Driver> {
  const main = process.argv[1];
  const loaded = await importInstalled(name, undefined, [...(main === undefined ? [] : [main]), import.meta.url]);
  if (loaded === undefined) {
    throw new ConnectError(`${what} needs the package "${name}". Run "npm install ${name}".`, {
      retryable: false,
      facts: { package: name },
    });
  }
  // CommonJS behind `import()`: the export is the default one. The shape is that of the package's documentation.
  return (loaded['default'] ?? loaded) as Driver;
}
