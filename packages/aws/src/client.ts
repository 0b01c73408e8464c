import { ConnectError, isLovageError, type Logger, silentLogger } from '@lovage/core/transport';
import { type AwsService, isNamed } from './errors.ts';
import { AwsLink } from './link.ts';

const DEFAULT_REGION = 'us-east-1';
const SOCKETS = 100;

/** A pair of keys as AWS gives them out. */
export interface AwsCredentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
}

export interface ClientOptions {
  readonly region: string;
  /** undefined: AWS itself. */
  readonly endpoint: string | undefined;
  /** undefined: the environment, a profile or a role. */
  readonly credentials: AwsCredentials | undefined;
  readonly connectTimeoutMs: number;
}

/** Settings of an SDK client whose requests an {@link AwsLink} tries again; what the user sets goes between. */
export function clientSettings<T extends object>(
  { region, endpoint, credentials, connectTimeoutMs }: ClientOptions,
  own: T,
): T & { region: string; maxAttempts: number } {
  return {
    requestHandler: {
      connectionTimeout: connectTimeoutMs,
      httpAgent: { keepAlive: true, maxSockets: SOCKETS },
      httpsAgent: { keepAlive: true, maxSockets: SOCKETS },
    },
    region,
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(credentials === undefined ? {} : { credentials }),
    ...own,
    // The link tries again, and knows when to give up.
    maxAttempts: 1,
  };
}

/**
 * The region: what is given, `AWS_REGION`, `AWS_DEFAULT_REGION` (boto's), what `configured` finds in a profile, else
 * `us-east-1`. `configured` makes a client of the SDK, which is asked and destroyed.
 */
export async function regionOf(
  given: string | undefined,
  configured: () => { readonly config: { readonly region: () => Promise<string> }; destroy(): void },
): Promise<string> {
  const named = given ?? process.env['AWS_REGION'] ?? process.env['AWS_DEFAULT_REGION'];
  if (named !== undefined && named !== '') return named;
  const client = configured();
  try {
    return await client.config.region();
  } catch {
    return DEFAULT_REGION; // no profile names one
  } finally {
    client.destroy();
  }
}

export interface ReachOptions {
  readonly service: AwsService;
  /** Where it leads, for errors; no secrets. */
  readonly where: string;
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
  readonly logger?: Logger;
}

/**
 * The first request, without patience: whoever opens tries again. undefined: these credentials are known and may not ask
 * this, which is an answer as well. Rejects with `ConnectError` where nobody answers.
 */
export async function reach<T>(
  ask: (signal: AbortSignal) => Promise<T>,
  { service, where, timeoutMs, signal, logger = silentLogger }: ReachOptions,
): Promise<T | undefined> {
  const link = new AwsLink({ service, lossMs: 0, busyMs: 0, requestMs: timeoutMs, where, logger });
  try {
    return await link.request(ask, {
      what: `Connecting to ${where}`,
      ...(signal === undefined ? {} : { signal }),
    });
  } catch (error) {
    signal?.throwIfAborted();
    if (isLovageError(error, 'ERR_CONNECTION_LOST') || isLovageError(error, 'ERR_BLOCKED')) {
      throw new ConnectError(`${where} cannot be reached: ${describe(error.cause)}.`, { cause: error.cause });
    }
    if (isForbidden(error)) return undefined;
    throw error;
  } finally {
    link.close();
  }
}

/** The credentials are known, and may not do this. */
function isForbidden(error: unknown): boolean {
  return isLovageError(error, 'ERR_AUTH') && isNamed(error, 'AccessDenied', 'AccessDeniedException');
}

function describe(cause: unknown): string {
  const { code, name, message } = cause as Error & { readonly code?: string };
  return name === 'AbortError' ? 'no answer in time' : [code ?? name, message].filter(Boolean).join(', ');
}
