import { ConfigError } from '@lovage/core/transport';

/**
 * The URL of another server, as given. Throws `ConfigError` unless it is `http://` or `https://` with a host and without
 * credentials, and never shows what was given: it stands in errors later, and what is refused may hold a key.
 */
export function readEndpointUrl(value: unknown, name: string): string {
  const url = typeof value === 'string' && /^https?:\/\//i.test(value) ? parsed(value) : undefined;
  if (url === undefined || url.search !== '' || url.hash !== '') {
    throw new ConfigError(
      `"${name}" is no such URL. Expected a URL of a server without credentials, such as "http://localhost:9000".`,
    );
  }
  if (url.username !== '' || url.password !== '') {
    throw new ConfigError(
      `"${name}" holds credentials. Expected a URL without them, such as "http://localhost:9000", and the access key in the URL of the store or its settings.`,
    );
  }
  return value as string;
}

function parsed(value: string): URL | undefined {
  try {
    return new URL(value);
  } catch {
    return undefined;
  }
}
