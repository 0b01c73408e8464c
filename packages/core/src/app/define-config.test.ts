import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { defineConfig } from './define-config.ts';
import { Lovage, type ConfigFromOptions } from './lovage.ts';

let folder = '';
beforeAll(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'lovage-config-')));
  mkdirSync(join(folder, 'jobs'));
  const files = {
    'package.json': '{ "name": "p", "type": "module" }',
    'settings.js': `export const task_serializer = 'yaml';\nexport const helper = () => 1;\n`,
    'default.js': `export default { workerConcurrency: 3, tasks: './jobs/*.js' };\n`,
    'two.js': `export const test = { taskAlwaysEager: true };\nexport const live = { CELERY_TASK_ALWAYS_EAGER: false };\nexport const no = 5;\n`,
    'wrong.js': `export default { taskSerialiser: 'yaml' };\n`,
    'broken.js': `throw new RangeError('at import');\n`,
    'jobs/mail.js': `globalThis.appOfConfig.task('mail', () => 1);\n`,
    'jobs/app.js': `export const load = (app, ...args) => app.configFrom(...args);\n`,
  };
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const newApp = (options: ConstructorParameters<typeof Lovage>[1] = {}): Lovage =>
  ((globalThis as { appOfConfig?: Lovage }).appOfConfig = new Lovage('c', { broker: 'memory://', ...options }));

async function load(reference: string, options?: ConfigFromOptions): Promise<Lovage> {
  const module = (await import(pathToFileURL(join(folder, 'jobs/app.js')).href)) as {
    load(app: Lovage, ...args: unknown[]): Promise<Lovage>;
  };
  return module.load(newApp(), reference, options);
}

describe('a config', () => {
  test('is what an app is made with; what is for the command line is no setting', async () => {
    const config = defineConfig({ app: './app.ts', name: 'shop', workerConcurrency: 4, CELERYD_TASK_TIME_LIMIT: 7 });
    for (const app of [newApp(config), newApp().configFrom(config), newApp().configFrom({ ...config })]) {
      expect(app.settings).toMatchObject({ workerConcurrency: 4, taskTimeLimit: 7, brokerUrl: 'memory://' });
    }
  });

  test.each([
    [{ app: 5 }, 'wrong "app"'],
    [{ name: '' }, 'wrong "name"'],
    [{ tasks: ['a', ''] }, 'wrong "tasks"'],
    [{ tasks: {} }, 'wrong "tasks"'],
    [{ taskSerialiser: 'json' }, 'Did you mean "taskSerializer"?'],
  ])('%o is refused', (config, message) => {
    expect(() => newApp(config as never).settings).toThrow(message);
    expect(() => newApp().configFrom(config).settings).toThrow(message);
  });
});

describe('configFrom a module', () => {
  test.each([
    ['../settings.js', { taskSerializer: 'yaml' }],
    ['../settings', { taskSerializer: 'yaml' }],
    ['settings.js', { taskSerializer: 'yaml' }],
    ['../two.js:test', { taskAlwaysEager: true }],
    ['default.js', { workerConcurrency: 3 }],
  ])('%s', async (reference, settings) => {
    expect((await load(reference)).settings).toMatchObject(settings);
  });

  test('its tasks begin at its folder', async () => {
    const app = await load('default.js');
    await app.importTasks();
    expect(app.tasks.names()).toEqual(['mail']);
  });

  test('with a namespace', async () => {
    expect((await load('../two.js:live', { namespace: 'CELERY' })).settings.taskAlwaysEager).toBe(false);
  });

  test.each([
    ['../nowhere.js', /No module of settings "\.\.\/nowhere\.js" was found/],
    ['../two.js:three', /"three" of .*two\.js holds no settings\. It exports: /],
    ['../two.js:no', /"no" of .*two\.js holds no settings/],
    ['../broken.js', /module of settings .*broken\.js could not be loaded: RangeError: at import/],
  ])('%s is refused', async (reference, message) => {
    await expect(load(reference)).rejects.toThrow(message);
  });

  test('a wrong setting names the file', async () => {
    const app = await load('../wrong.js');
    expect(() => app.settings).toThrow(`${join(folder, 'wrong.js')} has an unknown setting "taskSerialiser".`);
  });

  test('that an environment variable names', async () => {
    vi.stubEnv('SETTINGS_OF_TEST', join(folder, 'settings.js'));
    expect((await newApp().configFromEnvvar('SETTINGS_OF_TEST')).settings.taskSerializer).toBe('yaml');
    vi.stubEnv('SETTINGS_OF_TEST', '');
    await expect(newApp().configFromEnvvar('SETTINGS_OF_TEST')).rejects.toThrow('SETTINGS_OF_TEST is not set');
    vi.unstubAllEnvs();
  });
});

describe('addDefaults', () => {
  test('are under everything else; it names those that only it gives', () => {
    const app = newApp({ workerConcurrency: 2 }).configFrom({ task_serializer: 'yaml' });
    const only = app.addDefaults({
      broker: 'redis://h',
      CELERYD_CONCURRENCY: 9,
      taskSerializer: 'json',
      timezone: 'UTC',
    });
    expect(only).toEqual(['timezone']);
    expect(app.settings).toMatchObject({
      brokerUrl: 'memory://',
      workerConcurrency: 2,
      taskSerializer: 'yaml',
      timezone: 'UTC',
    });
    expect(app.addDefaults({ timezone: 'UTC' })).toEqual([]);
    expect(() => app.addDefaults({ taskTrackStarted: true })).toThrow('came too late');
  });
});
