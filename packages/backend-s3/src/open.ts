import { ListObjectsV2Command, S3Client } from '@aws-sdk/client-s3';
import { AwsLink, type AwsService, clientSettings, reach, regionOf } from '@lovage/aws';
import {
  type BackendOptions,
  type BackendUrl,
  NotFoundError,
  resultPrefixes,
  silentLogger,
} from '@lovage/core/backend';
import { S3Bucket } from './bucket.ts';
import { readS3Options } from './options.ts';
import { S3Store } from './store.ts';

/** No call may take longer than ten seconds, so no silence either. */
const SILENCE_MS = 8000;
/** Of a server that asks for patience the last request still has to be answered within those ten seconds. */
const BUSY_MS = 5000;

const S3: AwsService = {
  name: 'S3',
  credentials: 'in the settings (s3_access_key_id and s3_secret_access_key)',
  toLovageError: (error, what) =>
    error.name === 'NoSuchBucket'
      ? new NotFoundError(`${what}: there is no such bucket. Create it; Lovage makes none, as Celery makes none.`, {
          cause: error,
        })
      : undefined,
};

/** Opens a store. Rejects with `ConnectError`, `AuthError`, `NotFoundError` (no such bucket) or `ConfigError`. */
export async function openS3Store(
  url: BackendUrl,
  options: BackendOptions & { readonly signal: AbortSignal },
): Promise<S3Store> {
  const settings = readS3Options(url, options);
  const { signal, logger = silentLogger, expiresSeconds, transportOptions } = options;
  signal.throwIfAborted();
  const { bucket: name, endpoint, credentials, connectTimeoutMs, clientConfig } = settings;
  const region = await regionOf(settings.region, () => new S3Client(clientConfig));
  const client = new S3Client(
    clientSettings(
      { region, endpoint, credentials, connectTimeoutMs },
      {
        // As boto3 has it for other servers, few of which know checksums.
        ...(endpoint === undefined
          ? { followRegionRedirects: true }
          : {
              forcePathStyle: true,
              requestChecksumCalculation: 'WHEN_REQUIRED' as const,
              responseChecksumValidation: 'WHEN_REQUIRED' as const,
            }),
        ...clientConfig,
      },
    ),
  );
  const where = `${endpoint ?? 'Amazon S3'}, bucket ${name}`;
  const link = new AwsLink({
    service: S3,
    lossMs: SILENCE_MS,
    requestMs: SILENCE_MS,
    busyMs: BUSY_MS,
    where,
    logger,
  });
  const bucket = new S3Bucket(client, link, settings);
  try {
    // A HEAD would say less of what is wrong.
    const hello = new ListObjectsV2Command({ Bucket: name, MaxKeys: 1 });
    await reach((abortSignal) => client.send(hello, { abortSignal }), {
      service: S3,
      where,
      timeoutMs: connectTimeoutMs,
      signal,
    });
    const writesOnCondition =
      settings.conditionalWrites ?? (endpoint === undefined || (await bucket.writesOnCondition()));
    signal.throwIfAborted();
    if (!writesOnCondition) {
      logger.warn(
        { url: String(url) },
        'this S3 server does not write on condition: a late failure may overwrite a success, as with Celery',
      );
    }
    return new S3Store(bucket, { writesOnCondition, expiresSeconds, prefixes: resultPrefixes(transportOptions) });
  } catch (error) {
    bucket.close();
    throw error;
  }
}
