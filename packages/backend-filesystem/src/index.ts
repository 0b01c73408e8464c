import { type Backend, keyValueBackend } from '@lovage/core/backend';
import { openFileStore } from './open.ts';

/**
 * Results as files in a folder, in Celery's layout: `file:///var/results`. Python and TypeScript clients read each
 * other's.
 */
export const filesystemBackend: Backend = keyValueBackend({ schemes: ['file'], open: openFileStore });
