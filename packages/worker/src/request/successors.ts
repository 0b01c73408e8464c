import { currentTask, type Lovage } from '@lovage/core';
import { groupOf, readFields, type SignatureDict } from '@lovage/core/protocol';
import type { Attempt } from './attempt.ts';

/**
 * Publishes what follows a success: callbacks, then the next of the chain. Both become children of the task. Resolves
 * when the broker has all of it. Source: celery/app/trace.py; a group of callbacks: celery/canvas.py, group.
 */
export async function publishSuccessors(app: Lovage, attempt: Attempt, value: unknown): Promise<void> {
  const { callbacks, chain } = attempt.body;
  await currentTask.run(attempt.context, async () => {
    if (callbacks.length === 1) {
      await app.applySignature(callbacks[0] as SignatureDict, { args: [value] });
    } else if (callbacks.length > 1) {
      const signatures = callbacks.map(readFields);
      const groups = signatures.filter(({ subtaskType }) => subtaskType === 'group');
      const others = signatures.filter(({ subtaskType }) => subtaskType !== 'group');
      for (const group of groups) await app.producer.apply(group, [value], {}, {});
      if (others.length > 0) await app.producer.apply(groupOf(others), [value], {}, {});
    }
    const next = chain.at(-1);
    if (next !== undefined) await app.applySignature(next, { args: [value], chain: chain.slice(0, -1) });
  });
}
