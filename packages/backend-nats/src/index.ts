import { type Backend, keyValueBackend } from '@lovage/core/backend';
import { SCHEMES } from '@lovage/nats';
import { openNatsStore } from './open.ts';

export type { NatsBackendOptions } from './options.ts';

/**
 * Results in a key-value bucket of JetStream, under Celery's keys and in its format: `nats://host:4222/bucket`,
 * `tls+nats://`. Options as {@link NatsBackendOptions}; what lies on the server is told in `docs/wire/nats.md`.
 */
export const natsBackend: Backend = keyValueBackend({ schemes: SCHEMES, open: openNatsStore });
