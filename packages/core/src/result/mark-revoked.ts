import type { ResultBackend } from '../backend/contract.ts';
import { READY_STATES } from './states.ts';

/** Notes that tasks were revoked, where they have not ended. Source: celery/backends/base.py, mark_as_revoked. */
export async function markRevoked(backend: ResultBackend, taskIds: readonly string[]): Promise<void> {
  const known = await backend.load(taskIds);
  const unended = taskIds.filter((_, index) => !READY_STATES.has(known[index]?.status ?? 'PENDING'));
  if (unended.length === 0) return;
  const result = { exc_type: 'TaskRevokedError', exc_message: ['revoked'], exc_module: 'celery.exceptions' };
  const date_done = new Date().toISOString().replace('Z', '+00:00');
  await backend.store(
    unended.map((task_id) => ({
      meta: { status: 'REVOKED', result, traceback: null, children: [], date_done, task_id },
    })),
  );
}
