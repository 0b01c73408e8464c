import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { commandLine, findPackageManager, PACKAGE_MANAGERS } from './package-manager.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lovage-manager-'));
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

test.each([
  ['package-lock.json', '', 'npm'],
  ['pnpm-lock.yaml', '', 'pnpm'],
  ['yarn.lock', '', 'yarn'],
  ['bun.lock', '', 'bun'],
  ['package.json', '{ "packageManager": "pnpm@10.0.0" }', 'pnpm'],
])('a folder with %s %s is kept with %s', async (file, text, expected) => {
  vi.stubEnv('npm_config_user_agent', 'npm/11.0.0 node/v20.20.2 linux x64');
  writeFileSync(join(folder, file), text);
  expect(await findPackageManager(folder)).toBe(expected);
});

test.each([
  ['pnpm/10.0.0 npm/? node/v20.20.2 linux x64', 'pnpm'],
  ['', 'npm'],
])('a new folder takes the one that runs the command: "%s"', async (agent, expected) => {
  vi.stubEnv('npm_config_user_agent', agent);
  expect(await findPackageManager(folder)).toBe(expected);
});

test('each is called in its own way', () => {
  const lines = PACKAGE_MANAGERS.map((one) => [
    commandLine(one, 'install', []),
    commandLine(one, 'run', ['dev']),
    commandLine(one, 'execute-local', ['lovage', 'status']),
  ]);
  expect(lines).toEqual([
    ['npm i', 'npm run dev', 'npx lovage status'],
    ['pnpm i', 'pnpm run dev', 'pnpm exec lovage status'],
    ['yarn install', 'yarn run dev', 'yarn exec lovage -- status'],
    ['bun install', 'bun run dev', 'bun x lovage status'],
  ]);
});
