import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import { Lovage } from './lovage.ts';

const folders: string[] = [];
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

/** What the files of tasks below register with. */
const shared = globalThis as { appOfTest?: Lovage; LovageOfTest?: typeof Lovage };
shared.LovageOfTest = Lovage;

const task = (name: string): string => `globalThis.appOfTest.task(${JSON.stringify(name)}, () => 1);\n`;

function project(files: Readonly<Record<string, string>>): string {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'lovage-tasks-')));
  folders.push(folder);
  for (const [name, text] of Object.entries({ 'package.json': '{ "name": "p", "type": "module" }', ...files })) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  return folder;
}

function appOf(options: ConstructorParameters<typeof Lovage>[1] = {}): Lovage {
  return (shared.appOfTest = new Lovage('found', { broker: 'memory://', ...options }));
}

async function discover(
  folder: string,
  from: string,
  patterns: string | readonly string[],
): Promise<readonly string[]> {
  const app = appOf();
  app.autodiscoverTasks(patterns, { from: join(folder, from) });
  await app.importTasks();
  return app.tasks.names();
}

describe('autodiscoverTasks', () => {
  const files = {
    'src/mail/tasks.js': task('mail'),
    'src/shop/tasks.js': task('shop'),
    'src/shop/tasks.d.ts': 'no code',
    'src/shop/old/tasks.js': task('old'),
    'src/shop/node_modules/other/tasks.js': task('other'),
    'src/[id]/tasks.js': task('id'),
  };

  test.each([
    ['from the folder of the package', 'src/app.js', 'src/**/tasks.js', ['id', 'mail', 'old', 'shop']],
    ['from the calling file', 'src/shop/app.js', './**/tasks.js', ['old', 'shop']],
    ['from a folder above it', 'src/shop/app.js', '../mail/*.js', ['mail']],
    ['from a folder with a special name', 'src/[id]/app.js', './tasks.js', ['id']],
    ['without those that are not wanted', 'app.js', ['src/**/tasks.js', '!**/old/**', '!src/mail/*'], ['id', 'shop']],
    ['without types and installed packages', 'app.js', 'src/shop/**/*.{js,ts}', ['old', 'shop']],
    ['each file once', 'app.js', ['src/mail/*.js', 'src/*/tasks.js'], ['mail', 'id', 'shop']],
  ])('%s', async (_, from, patterns, names) => {
    expect(await discover(project(files), from, patterns)).toEqual(names);
  });

  test('an absolute pattern', async () => {
    const folder = project(files);
    expect(await discover(folder, 'app.js', join(folder, 'src/mail/tasks.js'))).toEqual(['mail']);
  });

  test.each([
    ['dist/app.js', 'src/**/tasks.ts', { 'dist/mail/tasks.js': 'mail', 'src/mail/tasks.ts': 'source' }],
    ['dist/app.js', './**/tasks.ts', { 'dist/mail/tasks.js': 'mail', 'src/mail/tasks.ts': 'source' }],
    ['dist/src/app.js', 'src/**/tasks.ts', { 'dist/src/mail/tasks.js': 'mail', 'src/mail/tasks.ts': 'source' }],
    ['dist/app.js', 'jobs/*.ts', { 'dist/jobs/a.js': 'mail', 'jobs/a.ts': 'source' }],
    ['dist/app.mjs', 'src/**/*.mts', { 'dist/a.mjs': 'mail' }],
    ['app.js', 'jobs/*.ts', { 'jobs/a.js': 'mail', 'jobs/a.ts': 'source' }],
  ])('of a compiled app %s, %s finds what is compiled', async (from, pattern, names) => {
    const compiled = Object.entries(names).map(([file, name]) => [file, task(name)] as const);
    expect(await discover(project(Object.fromEntries(compiled)), from, pattern)).toEqual(['mail']);
  });

  test('a program of JavaScript may have no package', async () => {
    const folder = project({ 'package.json': '{ "type": "module" }', 'jobs/a.js': task('a') });
    expect(await discover(folder, 'app.js', './jobs/*.js')).toEqual(['a']);
  });

  test('the package is the nearest one that is more than a note of a compiler', async () => {
    const folder = project({
      'inner/package.json': '{ "private": true }',
      'inner/src/tasks.js': task('inner'),
      'inner/dist/package.json': '{ "type": "module" }',
      'inner/dist/tasks.js': task('built'),
      'src/tasks.js': task('outer'),
    });
    expect(await discover(folder, 'inner/app.js', 'src/*.js')).toEqual(['inner']);
    expect(await discover(folder, 'inner/dist/app.js', 'src/*.ts')).toEqual(['built']);
  });

  test('imports nothing before it is needed, and everything once', async () => {
    const folder = project({ 'a/tasks.js': task('a'), 'b/tasks.js': task('b') });
    const app = appOf();
    app.autodiscoverTasks('a/tasks.js', { from: pathToFileURL(join(folder, 'app.js')).href });
    expect(app.tasks.names()).toEqual([]);
    await Promise.all([app.importTasks(), app.importTasks()]);
    expect(app.tasks.names()).toEqual(['a']);
    app.autodiscoverTasks('*/tasks.js', { from: join(folder, 'app.js') });
    await app.importTasks();
    expect(app.tasks.names()).toEqual(['a', 'b']);
  });

  test('begins at the file that calls it', async () => {
    const folder = project({
      'jobs/app.js': `globalThis.appOfTest.autodiscoverTasks('./*-task.js');`,
      'jobs/a-task.js': task('a'),
    });
    const app = appOf();
    await import(pathToFileURL(join(folder, 'jobs/app.js')).href);
    await app.importTasks();
    expect(app.tasks.names()).toEqual(['a']);
  });

  test('a pattern that matches nothing says where it looked', async () => {
    const folder = project({ 'src/tasks.js': task('a') });
    await expect(discover(folder, 'dist/app.js', 'src/**/task.ts')).rejects.toThrow(
      `No file of tasks matches "src/**/task.ts". Looked for "dist/src/**/task.js", then "dist/**/task.js", then "src/**/task.js", then "src/**/task.ts" in ${folder}.`,
    );
    const app = appOf();
    app.autodiscoverTasks('nothing/*.js', { from: join(folder, 'app.js'), optional: true });
    await app.importTasks();
  });

  test('a file that cannot be loaded is named, with the cause', async () => {
    const folder = project({ 'a-tasks.js': `throw new RangeError('at import');`, 'b-tasks.js': task('b') });
    await expect(discover(folder, 'app.js', '*-tasks.js')).rejects.toMatchObject({
      code: 'ERR_CONFIG',
      file: join(folder, 'a-tasks.js'),
      message: expect.stringMatching(
        /The task module .*a-tasks\.js, found by "\*-tasks\.js", could not be loaded: RangeError: at import/,
      ) as string,
      cause: expect.any(RangeError) as RangeError,
    });
  });

  test('a task that is registered twice is an error of the second file', async () => {
    const folder = project({ 'a/tasks.js': task('same'), 'b/tasks.js': task('same') });
    await expect(discover(folder, 'app.js', '*/tasks.js')).rejects.toThrow(
      /b\/tasks\.js, .*A task named "same" is registered already/,
    );
  });

  test('a second copy of the app is noticed', async () => {
    const folder = project({ 'tasks.js': `new globalThis.LovageOfTest('found').task('lost', () => 1);` });
    await expect(discover(folder, 'app.js', 'tasks.js')).rejects.toThrow(/A second app "found" was made/);
  });

  test('what is no pattern', () => {
    expect(() => appOf().autodiscoverTasks(['a', ''])).toThrow('autodiscoverTasks() was given "".');
  });
});

describe('imports and include', () => {
  test('name files and packages', async () => {
    const folder = project({
      'jobs/mail.js': task('mail'),
      'jobs/index.js': task('jobs'),
      'node_modules/tasks-package/package.json':
        '{ "name": "tasks-package", "type": "module", "exports": "./main.js" }',
      'node_modules/tasks-package/main.js': task('package'),
    });
    const imports = [join(folder, 'jobs/mail'), 'tasks-package'];
    const app = appOf({
      imports,
      include: join(folder, 'jobs'),
      resolveFrom: pathToFileURL(join(folder, 'app.js')).href,
    });
    await app.importTasks();
    expect(app.tasks.names()).toEqual(['mail', 'package', 'jobs']);
  });

  test('what is not there is named, a Python module with what it would be', async () => {
    await expect(appOf({ imports: './nowhere.js' }).importTasks()).rejects.toThrow(/No module "\.\/nowhere\.js"/);
    await expect(appOf({ include: ['proj.tasks'] }).importTasks()).rejects.toThrow(
      /Python's "proj\.tasks" is "\.\/proj\/tasks" here/,
    );
  });
});
