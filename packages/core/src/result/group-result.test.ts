import { describe, expect, test } from 'vitest';
import { openApp, storeState } from '../../test/support/app-bench.ts';
import { GroupResult, type Lovage } from '../index.ts';

const failure = { exc_type: 'ValueError', exc_message: ['no'], exc_module: 'builtins' };

function groupOf(app: Lovage, ...ids: string[]): GroupResult {
  return new GroupResult(
    app,
    'group',
    ids.map((id) => app.asyncResult(id)),
  );
}

describe('a group of results', () => {
  test('counts what has ended, and says how the whole stands', async () => {
    const app = openApp();
    const group = groupOf(app, 'a', 'b', 'c');
    const facts = async () => ({
      completed: await group.completedCount(),
      waiting: await group.waiting(),
      ready: await group.ready(),
      successful: await group.successful(),
      failed: await group.failed(),
      state: await group.state(),
    });
    await storeState(app, 'a', 'SUCCESS', 1);
    await storeState(app, 'b', 'STARTED');
    const open = { waiting: true, ready: false, successful: false, failed: false, state: 'PENDING' };
    expect(await facts()).toEqual({ ...open, completed: 1 });
    await storeState(app, 'b', 'FAILURE', failure);
    expect(await facts()).toEqual({ ...open, completed: 1, failed: true, state: 'FAILURE' });
    await storeState(app, 'c', 'SUCCESS', 3);
    expect(await facts()).toEqual({
      completed: 2,
      waiting: false,
      ready: true,
      successful: false,
      failed: true,
      state: 'FAILURE',
    });
  });

  test('is gone through as its members end, and ends with the failure of one', async () => {
    const app = openApp();
    await storeState(app, 'b', 'SUCCESS', 2);
    const seen: unknown[] = [];
    const following = (async () => {
      for await (const { index, result, value } of groupOf(app, 'a', 'b', 'c', 'd').iterate({ timeout: 5 })) {
        seen.push([index, result.id, value]);
        if (index === 1) await storeState(app, 'd', 'SUCCESS', 4);
        if (index === 3) await storeState(app, 'a', 'FAILURE', failure);
      }
    })();
    await expect(following).rejects.toMatchObject({ code: 'ERR_TASK_FAILED', message: expect.stringContaining('no') });
    expect(seen).toEqual([
      [1, 'b', 2],
      [3, 'd', 4],
    ]);
  });

  test('gives what has failed in its place with propagate: false', async () => {
    const app = openApp();
    await storeState(app, 'a', 'FAILURE', failure);
    await storeState(app, 'b', 'SUCCESS', 2);
    const [first, second] = (await groupOf(app, 'a', 'b').get({ propagate: false, timeout: 5 })) as [Error, number];
    expect([first.message, second]).toEqual([expect.stringContaining('no'), 2]);
  });

  test('is revoked with all its members, nested ones too, but for what has ended', async () => {
    const app = openApp();
    await storeState(app, 'a', 'SUCCESS', 1);
    const inner = new GroupResult(app, 'inner', [app.asyncResult('c')]);
    const group = new GroupResult(app, 'group', [app.asyncResult('a'), app.asyncResult('b'), inner]);
    await group.revoke();
    const states = await Promise.all(['a', 'b', 'c'].map((id) => app.asyncResult(id).state()));
    expect(states).toEqual(['SUCCESS', 'REVOKED', 'REVOKED']);
  });
});
