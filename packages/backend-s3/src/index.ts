import { type Backend, keyValueBackend } from '@lovage/core/backend';
import { openS3Store } from './open.ts';

export type { S3BackendOptions } from './options.ts';

/**
 * Results in Amazon S3, or in what speaks its protocol, in Celery's layout: `s3://` with Celery's settings (`s3_bucket`
 * ...), or `s3://key:secret@bucket/base/path`; transport options as {@link S3BackendOptions}.
 */
export const s3Backend: Backend = keyValueBackend({ schemes: ['s3'], open: openS3Store });
