import type { AwsService } from '@lovage/aws';
import { NotFoundError } from '@lovage/core/backend';

/** How DynamoDB speaks in errors. */
export const DYNAMODB: AwsService = {
  name: 'DynamoDB',
  credentials: 'in the URL (dynamodb://key:secret@region/table, percent-encoded)',
  toLovageError: (error, what) =>
    error.name === 'ResourceNotFoundException'
      ? new NotFoundError(`${what}: there is no such table.`, { cause: error })
      : undefined,
};
