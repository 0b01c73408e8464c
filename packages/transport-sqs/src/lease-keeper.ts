import { ChangeMessageVisibilityBatchCommand } from '@aws-sdk/client-sqs';
import { AwsLink } from '@lovage/aws';
import { type OpenLeaseKeeper, silentLogger } from '@lovage/core/transport';
import { batchesOf, groupsOf } from './batches.ts';
import { openClients } from './clients.ts';
import { readSqsOptions } from './options.ts';
import { SQS } from './service.ts';

/** What of a receipt crosses to another thread. */
export interface KeptHandle {
  readonly queue: string;
  readonly url: string;
  readonly handle: string;
}

/** Keeps messages hidden for a driver whose event loop stands still. */
export const openLeaseKeeper: OpenLeaseKeeper<unknown, KeptHandle> = async (url, options) => {
  const { settings, client } = readSqsOptions(url, options);
  const { connectTimeoutMs = 4000 } = options;
  const clients = await openClients(client, connectTimeoutMs);
  const requestMs = settings.leaseSeconds * 500;
  const link = new AwsLink({
    service: SQS,
    lossMs: requestMs,
    requestMs,
    where: client.endpoint ?? 'Amazon SQS',
    logger: silentLogger,
  });
  async function hide(QueueUrl: string, queue: string, batch: readonly KeptHandle[]): Promise<readonly KeptHandle[]> {
    const Entries = batch.map(({ handle }, index) => ({
      Id: String(index),
      ReceiptHandle: handle,
      VisibilityTimeout: settings.leaseSeconds,
    }));
    const sqs = clients.get(settings.predefinedQueues?.get(queue));
    const { Failed = [] } = await link.request(
      (abortSignal) => sqs.send(new ChangeMessageVisibilityBatchCommand({ QueueUrl, Entries }), { abortSignal }),
      { what: `Renewing messages of the queue "${queue}"` },
    );
    const failed = new Set(Failed.map(({ Id }) => Number(Id)));
    return batch.filter((_, index) => !failed.has(index));
  }
  return {
    async extend(_, receipts) {
      const groups = [...groupsOf(receipts, (receipt) => receipt.url)];
      const kept = await Promise.all(
        groups.flatMap(([queueUrl, held]) =>
          batchesOf(held).map((batch) => hide(queueUrl, (batch[0] as KeptHandle).queue, batch)),
        ),
      );
      const all = new Set(kept.flat());
      return receipts.map((receipt) => (all.has(receipt) ? receipt : null));
    },
    async close() {
      link.close();
      clients.destroy();
    },
  };
};
