import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { writeManifest, writeProjectFile } from './write.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lovage-write-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const text = (path: string): string => readFileSync(join(folder, path), 'utf8');
const PARTS = {
  scripts: { dev: 'lovage dev', worker: 'lovage worker' },
  dependencies: { '@lovage/core': '^1.0.0' },
  devDependencies: { typescript: '^7.0.0' },
};

test('package.json gets what it lacks; what is in it, and how it is written, stays', () => {
  const found = { name: 'shop', scripts: { dev: 'vite' }, dependencies: { typescript: '5.0.0' }, custom: [1] };
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(found, undefined, '\t')}\n`);
  expect(writeManifest(folder, 'other', PARTS)).toEqual({ outcome: 'changed', kept: ['dev'] });
  expect(text('package.json')).toMatch(/^\{\n\t"name"/);
  expect(JSON.parse(text('package.json'))).toEqual({
    ...found,
    scripts: { dev: 'vite', worker: 'lovage worker' },
    dependencies: { typescript: '5.0.0', '@lovage/core': '^1.0.0' },
  });
  expect(writeManifest(folder, 'other', PARTS)).toEqual({ outcome: 'same', kept: ['dev'] });
});

test('a package.json that cannot be read is left alone', () => {
  writeFileSync(join(folder, 'package.json'), '{ "name": ');
  expect(() => writeManifest(folder, 'shop', PARTS)).toThrow(/package\.json is no JSON object/);
  expect(text('package.json')).toBe('{ "name": ');
});

test('.gitignore gets the lines that it lacks', async () => {
  writeFileSync(join(folder, '.gitignore'), 'dist\nnode_modules/');
  const wanted = 'node_modules/\n# SQLite\nlovage.db*\n';
  expect(await writeProjectFile(folder, '.gitignore', wanted, () => false)).toBe('changed');
  expect(text('.gitignore')).toBe('dist\nnode_modules/\n# SQLite\nlovage.db*\n');
  expect(await writeProjectFile(folder, '.gitignore', wanted, () => false)).toBe('same');
});

test('a file that says something else is overwritten only when that was allowed', async () => {
  writeFileSync(join(folder, 'README.md'), 'mine');
  expect(await writeProjectFile(folder, 'README.md', 'new', () => false)).toBe('kept');
  expect(text('README.md')).toBe('mine');
  expect(await writeProjectFile(folder, 'README.md', 'new', () => true)).toBe('changed');
  expect(text('README.md')).toBe('new');
});
