import { type Backend, keyValueBackend } from '@lovage/core/backend';
import { openDynamoStore } from './open.ts';

export type { DynamoBackendOptions } from './options.ts';

/**
 * Results in Amazon DynamoDB, in Celery's layout: `dynamodb://key:secret@region/table?read=5&write=5&ttl_seconds=86400`,
 * `dynamodb://@region/table` with the SDK's own credentials; transport options as {@link DynamoBackendOptions}.
 */
export const dynamodbBackend: Backend = keyValueBackend({ schemes: ['dynamodb'], open: openDynamoStore });
