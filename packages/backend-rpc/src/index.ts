import type { Backend, ResultBackend } from '@lovage/core/backend';
import { readReplySettings } from './options.ts';
import { QueuePerTaskBackend } from './queue-per-task-backend.ts';
import { RpcBackend } from './rpc-backend.ts';

/**
 * Results as messages over the application's broker, whichever it is: `rpc://` has one reply queue per process, the
 * older `amqp://` (Celery 4 and before) one queue per task. The rest of the URL is not looked at, as in Celery: results
 * go where the tasks go. Only the process that sent a task reads its result, once; no saved groups, no chords.
 */
export const rpcBackend: Backend = {
  schemes: ['rpc', 'amqp'],
  async open(url, options): Promise<ResultBackend> {
    const settings = readReplySettings(options);
    return url.scheme === 'rpc' ? new RpcBackend(options, settings) : new QueuePerTaskBackend(options, settings);
  },
};
