import { afterAll, expect, test } from 'vitest';
import { projectFolder } from '../test/support/folder.ts';
import { loadApp } from './load-app.ts';

const esm = (name: string): string =>
  `import { Lovage } from '@lovage/core';\nexport const app = new Lovage('${name}', { broker: 'memory://' });\n`;

const folder = projectFolder({
  'plain.mjs': esm('mjs'),
  'module.js': esm('js'),
  'package.json': '{ "type": "module" }',
  'typed.ts': `import { Lovage } from '@lovage/core';\nimport { name } from './names.ts';\nenum Kind { A }\nexport const app: Lovage = new Lovage(name + Kind.A);\n`,
  'names.ts': `export const name: string = 'ts';\n`,
  'shop/index.mjs': esm('folder'),
  'default.mjs': `import { Lovage } from '@lovage/core';\nexport default new Lovage('default');\n`,
  'two.mjs': `import { Lovage } from '@lovage/core';\nexport const one = new Lovage('one');\nexport const two = new Lovage('two');\nexport const not = 5;\n`,
  'both.mjs': `import { Lovage } from '@lovage/core';\nexport const other = new Lovage('other');\nexport const app = new Lovage('app');\n`,
  'none.mjs': `export const nothing = 1;\n`,
  'broken.mjs': `export const app = ;\n`,
  'throws.mjs': `throw new Error('at import');\n`,
  'lacks.mjs': `import 'no-such-package-here';\n`,
  'lacks.ts': `import 'no-such-package-here';\nexport const x: number = 1;\n`,
});
afterAll(() => folder.remove());

test.each([
  ['./plain.mjs', 'mjs'],
  ['plain', 'mjs'],
  ['./module', 'js'],
  ['./typed.ts', 'ts0'],
  ['./typed', 'ts0'],
  ['./shop', 'folder'],
  ['default', 'default'],
  ['two:two', 'two'],
  ['./two.mjs:one', 'one'],
  ['both', 'app'],
  ['both:other', 'other'],
])('%s is the app "%s"', async (reference, name) => {
  const app = await loadApp(reference, folder.path);
  expect(app.name).toBe(name);
  expect(app.resolveFrom).toMatch(/^file:.*lovage-cli-/);
});

test.each([
  ['missing', /No module "missing" was found from .*Expected -A with a file/],
  ['no-such-package', /No module "no-such-package"/],
  ['two', /exports 2 apps. Pick one with -A two:name/],
  ['two:three', /"three" of "two:three" is not a Lovage app. It exports: .*one/],
  ['two:not', /"not" of "two:not" is not a Lovage app/],
  ['two:__proto__', /is not a Lovage app/],
  ['none', /exports no Lovage app/],
  ['broken', /broken.mjs could not be loaded/],
  ['throws', /throws.mjs could not be loaded: Error: at import/],
  ['lacks.mjs', /could not be loaded: .*no-such-package-here/],
  ['lacks.ts', /could not be loaded: .*no-such-package-here/],
])('%s is refused and says why', async (reference, message) => {
  await expect(loadApp(reference, folder.path)).rejects.toMatchObject({
    exitCode: 78,
    message: expect.stringMatching(message),
  });
});
