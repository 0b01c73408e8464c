import { ConfigError, TransportNotFoundError } from '../errors.ts';
import { importInstalled } from './installed-package.ts';
import { nearestName } from './nearest-name.ts';

/** What transports and result stores have in common: they say which URLs are theirs. */
interface SchemeHandler {
  readonly schemes: readonly string[];
}

/** A kind of handler: which there are, and what errors call it. */
export interface HandlerKind<T extends SchemeHandler> {
  /** `transport`, `result store`. */
  readonly what: string;
  /** What another one is for, and what its value and the option for it are called. */
  readonly place: string;
  readonly value: string;
  readonly option: string;
  /** Which package handles a scheme. */
  readonly packages: ReadonlyMap<string, string>;
  readonly builtIn: T;
  /** Whether something that has schemes is of this kind. */
  readonly is: (value: SchemeHandler) => value is T;
}

export interface ResolveHandlerOptions<T> {
  /** Looked at first, in their order. */
  readonly given: readonly T[];
  /** See `importInstalled`. */
  readonly from: string | undefined;
  readonly fallbacks: readonly string[] | undefined;
}

/**
 * The handler of a scheme: one of those given, the one that is built in, or the value that the scheme's package exports. A
 * scheme with a driver behind it (`sqla+sqlite+pysqlite`) is handled as the part before.
 *
 * Rejects with `TransportNotFoundError`, which says what to install or which scheme may have been meant, and with
 * `ConfigError` where the installed package is of another version.
 */
export async function resolveHandler<T extends SchemeHandler>(
  scheme: string,
  { what, place, value, option, packages, builtIn, is }: HandlerKind<T>,
  { given, from, fallbacks }: ResolveHandlerOptions<T>,
): Promise<T> {
  const handlers = [...given, builtIn];
  const present = findHandler(handlers, scheme);
  if (present !== undefined) return present;
  const known = partsOf(scheme).find((part) => packages.has(part));
  if (known === undefined) {
    const all = [...new Set([...handlers.flatMap(({ schemes }) => schemes), ...packages.keys()])];
    throw new TransportNotFoundError(
      `No ${what} handles "${scheme}://".${nearestName(scheme, all)} Expected one of: ${all.join(', ')}. For another ${place} pass its ${value} in "${option}".`,
      { facts: { scheme } },
    );
  }
  const name = packages.get(known) as string;
  const exported = await importInstalled(name, from, fallbacks);
  if (exported === undefined) {
    throw new TransportNotFoundError(
      `No ${what} handles "${scheme}://". Run "npm install ${name}" or pass the ${value} in "${option}".`,
      { facts: { scheme, package: name } },
    );
  }
  const handler = findHandler(
    Object.values(exported).filter((found): found is T => hasSchemes(found) && is(found)),
    scheme,
  );
  if (handler === undefined) {
    throw new ConfigError(
      `The installed ${name} does not handle "${scheme}://". Install the version that belongs to this @lovage/core.`,
      { facts: { scheme, package: name } },
    );
  }
  return handler;
}

function hasSchemes(value: unknown): value is SchemeHandler {
  return typeof value === 'object' && value !== null && Array.isArray((value as Partial<SchemeHandler>).schemes);
}

/** The first that handles the scheme, or the longest part of it that ends before a `+`. */
function findHandler<T extends SchemeHandler>(handlers: readonly T[], scheme: string): T | undefined {
  for (const part of partsOf(scheme)) {
    const handler = handlers.find(({ schemes }) => schemes.includes(part));
    if (handler !== undefined) return handler;
  }
  return undefined;
}

function partsOf(scheme: string): readonly string[] {
  const words = scheme.split('+');
  return words.map((_, index) => words.slice(0, words.length - index).join('+'));
}
