import { type MongoLink, openMongo, readMongoEndpoint, SURE } from '@lovage/mongodb';
import type { BackendOptions, BackendUrl } from '@lovage/core/backend';
import { readBackendOptions } from './options.ts';

/** An open database and the names of its collections. */
export interface OpenStore {
  readonly link: MongoLink;
  readonly tasks: string;
  readonly groups: string;
}

/** Opens a store and makes its indexes. Rejects with `ConnectError`, `AuthError` or `ConfigError`. */
export async function openResultStore(url: BackendUrl, options: BackendOptions): Promise<OpenStore> {
  const read = readBackendOptions(url, options);
  const endpoint = readMongoEndpoint(read.url, { defaultDatabase: read.database, logger: options.logger });
  const link = await openMongo(endpoint, { connectTimeoutMs: read.connectTimeoutMs });
  try {
    // Under the name and with the option that pymongo gives it. Source: celery/backends/mongodb.py, collection.
    const indexes = [{ key: { date_done: 1 }, name: 'date_done_1', background: true }];
    const { tasks, groups } = read;
    await Promise.all([tasks, groups].map((name) => link.run({ createIndexes: name, indexes, writeConcern: SURE })));
    return { link, tasks, groups };
  } catch (error) {
    await link.close();
    throw error;
  }
}
