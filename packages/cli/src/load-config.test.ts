import { afterAll, expect, test } from 'vitest';
import { projectFolder } from '../test/support/folder.ts';
import { loadProject } from './load-app.ts';

const folder = projectFolder({
  'package.json': '{ "name": "shop", "type": "module" }',
  'app/main.ts': `import { Lovage } from '@lovage/core';\nexport const app: Lovage = new Lovage('named');\nexport const other: Lovage = new Lovage('other');\n`,
  'lib/tasks.ts': `import { sharedTask } from '@lovage/core';\nexport const hello = sharedTask('lib.hello', (): number => 1);\n`,
  'compiled/main.js': `import { Lovage } from '@lovage/core';\nexport const app = new Lovage('compiled');\n`,
  'app.config.ts': `export default { app: './app/main.ts', workerConcurrency: 7 };\n`,
  'other.config.ts': `export default { app: './app/main.ts:other' };\n`,
  'compiled.config.js': `export default { app: './compiled/main.ts' };\n`,
  'tasks.config.ts': `export default { name: 'made', tasks: 'lib/*.ts', broker: 'memory://' };\n`,
  'exports.config.mjs': `export const worker_concurrency = 3;\n`,
  'value.config.ts': `export default { workerConcurrency: 'many' };\n`,
  'nowhere.config.ts': `export default { app: './nowhere' };\n`,
  'function.config.ts': `export default () => ({});\n`,
  'throws.config.ts': `throw new RangeError('at import');\n`,
  'pattern.config.ts': `export default { tasks: 'src/*.ts' };\n`,
  'part.config.ts': `export default { tasks: 5 };\n`,
});
afterAll(() => folder.remove());

const load = (config: string, app?: string): ReturnType<typeof loadProject> =>
  loadProject({ workdir: folder.path, app, config });

test.each([
  ['app.config.ts', undefined, 'named', { workerConcurrency: 7 }],
  ['other.config.ts', undefined, 'other', {}],
  ['app.config.ts', 'compiled/main.js', 'compiled', { workerConcurrency: 7 }],
  ['compiled.config.js', undefined, 'compiled', {}],
  ['tasks.config.ts', undefined, 'made', { brokerUrl: 'memory://' }],
  ['exports.config.mjs', undefined, 'shop', { workerConcurrency: 3 }],
])('%s with -A %s is the app "%s"', async (config, app, name, settings) => {
  const project = await load(config, app);
  expect(project?.app.name).toBe(name);
  expect(project?.app.settings).toMatchObject(settings);
});

test('shared tasks need no app but the one that the command makes', async () => {
  const project = await load('tasks.config.ts');
  expect(project?.app.tasks.names()).toContain('lib.hello');
  expect(project?.app.resolveFrom).toMatch(/tasks\.config\.ts$/);
});

test.each([
  ['value.config.ts', /value\.config\.ts has workerConcurrency = "many"/],
  ['nowhere.config.ts', /No module "\.\/nowhere" was found/],
  ['function.config.ts', /exports a function as its default\. Expected an object of settings/],
  ['throws.config.ts', /config file .*throws\.config\.ts could not be loaded: RangeError: at import/],
  ['pattern.config.ts', /No file of tasks matches "src\/\*\.ts"\. Looked for "src\/\*\.ts" in /],
  ['part.config.ts', /A config has wrong "tasks"/],
  ['missing.config.ts', /missing\.config\.ts of --config is not there/],
])('%s is refused and says why', async (config, message) => {
  await expect(load(config)).rejects.toThrow(message);
});

test('no config and no app is no project', async () => {
  expect(await loadProject({ workdir: folder.path, app: undefined, config: undefined })).toBeUndefined();
});
