import type { AwsService } from '@lovage/aws';
import { BrokerBlockedError, NotFoundError } from '@lovage/core/transport';

/** How SQS speaks in errors. */
export const SQS: AwsService = {
  name: 'SQS',
  credentials: 'in the URL (sqs://key:secret@, percent-encoded)',
  toLovageError(error, what) {
    switch (error.name) {
      case 'QueueDoesNotExist':
        return new NotFoundError(`${what}: the queue does not exist.`, { cause: error });
      case 'QueueDeletedRecently':
        return new BrokerBlockedError(
          `${what}: a queue of this name was removed less than 60 seconds ago; SQS makes no new one until then.`,
          { cause: error },
        );
      default:
        return undefined;
    }
  },
};
