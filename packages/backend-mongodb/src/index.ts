import { MONGODB_SCHEMES } from '@lovage/mongodb';
import type { Backend } from '@lovage/core/backend';
import { MongoResultBackend } from './backend.ts';
import { openResultStore } from './open.ts';

export type { MongoBackendSettings } from './options.ts';

/** Celery's MongoDB result store, in its collections: `mongodb`, `mongodb+srv`. */
export const mongodbBackend: Backend = {
  schemes: MONGODB_SCHEMES,
  async open(url, options) {
    const open = () => openResultStore(url, options);
    return new MongoResultBackend(await open(), open, options);
  },
};
