import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, describe, expect, test } from 'vitest';
import { AsyncResult } from '../result/async-result.ts';
import { GroupResult } from '../result/group-result.ts';
import { Crontab } from '../schedule/crontab.ts';
import { Interval } from '../schedule/interval.ts';
import { encodeJson } from '../serialization/json.ts';
import { currentApp } from './apps.ts';
import { Lovage, type LovageOptions } from './lovage.ts';
import { sharedTask } from './shared-task.ts';
import { Task } from './task.ts';

const apps: Lovage[] = [];
afterEach(async () => {
  for (const app of apps.splice(0)) await app.close();
});

function appOf(name: string, options: LovageOptions = {}): Lovage {
  const app = new Lovage(name, { broker: 'memory://', taskAlwaysEager: true, ...options });
  apps.push(app);
  return app;
}

// Declared before there is any app, as a library's module is.
const add = sharedTask('shared.add', { params: ['x', 'y'] }, (x: number, y: number) => x + y);

describe('the current app', () => {
  test('is the one that was made last, until one is chosen; closed ones are none', async () => {
    expect(() => currentApp()).toThrow('There is no app in this process yet.');
    const one = appOf('one');
    const two = appOf('two');
    appOf('private', { setAsCurrent: false });
    expect(currentApp()).toBe(two);
    expect(one.setDefault()).toBe(one);
    expect(currentApp()).toBe(one);
    appOf('three');
    expect(currentApp()).toBe(one);
    await one.close();
    expect(currentApp().name).toBe('three');
  });

  test('is inside of a task the one that runs it', async () => {
    const inner = sharedTask('shared.inner', () => currentApp().name);
    const outer = appOf('outer');
    const other = appOf('other').setDefault();
    const ask = outer.task('ask', { bind: true }, async (task) => {
      expect(task.app).toBe(outer);
      return (await inner.delay()).get({ allowInsideTask: true });
    });
    expect(await (await ask.apply()).get()).toBe('outer');
    expect(await (await inner.delay()).get()).toBe('other');
    expect(currentApp()).toBe(other);
  });
});

describe('a shared task', () => {
  test('is a task of each app', async () => {
    const [one, two] = [appOf('one'), appOf('two')];
    for (const app of [one, two]) {
      expect(app.tasks.names()).toContain('shared.add');
      expect(app.tasks.get('shared.add')?.app).toBe(app);
      app.setDefault();
      expect(add.app).toBe(app);
      expect(await (await add.delay(1, 2)).get()).toBe(3);
      expect((await add.applyAsync([1, 2])).app).toBe(app);
      expect(add.s(1).toJSON()).toMatchObject({ task: 'shared.add', args: [1] });
      expect(add.options.maxRetries).toBe(3);
    }
  });

  test('that is declared late is one of apps made before', () => {
    const app = appOf('early');
    expect(app.tasks.get('shared.late')).toBeUndefined();
    sharedTask('shared.late', () => 1);
    expect(app.tasks.get('shared.late')).toBeInstanceOf(Task);
  });

  test('gives way to a task of the app, made before or after', async () => {
    for (const looksFirst of [true, false]) {
      const app = appOf('own').setDefault();
      if (looksFirst) expect(app.tasks.names()).toContain('shared.add');
      app.task('shared.add', (x: number, y: number) => x * y);
      expect(app.tasks.names().filter((name) => name === 'shared.add')).toHaveLength(1);
      expect(await (await add.delay(3, 4)).get()).toBe(12);
      expect(() => app.task('shared.add', () => 1)).toThrow('registered already');
    }
  });

  test('can be looked at without an app, and used only with one', async () => {
    expect(add.name).toBe('shared.add');
    expect(add).toBeInstanceOf(Task);
    expect(await Promise.resolve(add)).toBe(add);
    expect(() => add.delay(1, 2)).toThrow('There is no app in this process yet.');
  });

  test('is periodic in every app', () => {
    const early = appOf('early');
    sharedTask('shared.tick', (n: number) => n)
      .every(5, [1])
      .every(6, [2], { name: 'six' });
    for (const app of [early, appOf('late')]) {
      expect(app.periodicTasks.map(({ name, args }) => [name, args])).toEqual([
        ['shared.tick(1)', [1]],
        ['six', [2]],
      ]);
    }
  });

  test('may have a base', () => {
    class Audited<P, R> extends Task<P, R> {
      override onSuccess(): void {}
    }
    sharedTask('shared.audited', { base: Audited }, () => 1);
    expect(appOf('a').tasks.get('shared.audited')).toBeInstanceOf(Audited);
  });

  test('is checked where it is declared', () => {
    expect(() => sharedTask('a b', () => 1)).toThrow('The task name "a b" is not allowed');
    expect(() => sharedTask('shared.x', undefined as never)).toThrow('has no function');
    expect(() => sharedTask('shared.x', { queu: 'a' } as never, () => 1)).toThrow('Did you mean "queue"?');
    expect(() => sharedTask('shared.x', { priority: 10 }, () => 1)).toThrow('priority 10');
  });

  test('declared once more is the new one; by two files as different ones it is an error of workers', async () => {
    sharedTask('shared.again', () => 'old');
    const app = appOf('a').setDefault();
    const again = async (): Promise<unknown> => (await app.tasks.get('shared.again')?.delay())?.get();
    expect(await again()).toBe('old');
    const fresh = (): string => 'new';
    sharedTask('shared.again', fresh);
    expect(await again()).toBe('new');
    await app.importTasks();

    const folder = mkdtempSync(join(tmpdir(), 'lovage-shared-'));
    try {
      const declares = (fn: string): string => `export const declare = (share) => share('shared.again', ${fn});`;
      writeFileSync(join(folder, 'bundled.mjs'), declares(String(fresh)));
      writeFileSync(join(folder, 'other.mjs'), declares("() => 'other'"));
      const load = async (file: string): Promise<void> => {
        const module = (await import(pathToFileURL(join(folder, file)).href)) as {
          readonly declare: (by: typeof sharedTask) => void;
        };
        module.declare(sharedTask);
      };
      await load('bundled.mjs');
      await app.importTasks();
      await load('other.mjs');
      expect(await again()).toBe('other');
      await expect(app.importTasks()).rejects.toThrow(
        /"shared\.again" is declared in .*bundled\.mjs, and another one in .*other\.mjs\. Give each a name/,
      );
    } finally {
      rmSync(folder, { recursive: true });
      // The second one has no other file before it.
      sharedTask('shared.again', fresh);
      sharedTask('shared.again', fresh);
    }
  });
});

test('a library with a copy of this package of its own shares its tasks all the same', async () => {
  // The built package is another copy than the source that these tests import.
  const copy = (await import(new URL('../../dist/index.js', import.meta.url).href)) as typeof import('../index.ts');
  expect(copy.Lovage).not.toBe(Lovage);
  class Loud<P, R> extends copy.Task<P, R> {}
  const twice = copy.sharedTask('shared.twice', { base: Loud }, (n: number) => n * 2);
  const app = appOf('copies').setDefault();
  expect(copy.currentApp()).toBe(app);
  expect(await (await twice.delay(4)).get()).toBe(8);
  expect(twice.app).toBe(app);
});

test('what another copy made is known for what it is', async () => {
  const copy = (await import(new URL('../../dist/index.js', import.meta.url).href)) as typeof import('../index.ts');
  const app = appOf('copies');
  const result = new copy.AsyncResult(app, 'an-id');
  expect(result).toBeInstanceOf(AsyncResult);
  expect(result).not.toBeInstanceOf(GroupResult);
  expect(new copy.GroupResult(app, 'an-id', [result])).toBeInstanceOf(GroupResult);
  expect(copy.describeSettings(app.settings)).toEqual({ broker_url: 'memory://', task_always_eager: true });
  expect(copy.every(5)).toBeInstanceOf(Interval);
  expect(copy.every(5)).not.toBeInstanceOf(Crontab);
  expect(copy.crontab({ minute: 5 })).toBeInstanceOf(Crontab);
  expect(encodeJson(new copy.Decimal('1.50'))).toBe('{"__type__":"decimal","__value__":"1.50"}');
  class OwnResult extends AsyncResult {}
  expect(result).not.toBeInstanceOf(OwnResult);
  expect(new OwnResult(app, 'an-id')).toBeInstanceOf(OwnResult);
});
