// Packs every package as it would be published and looks at the result: publint, are-the-types-wrong, no install
// scripts in what users get, and no adapter that brings another broker's client along.
import { mkdtempSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { must, root, run } from './run.mjs';
import { clients, clientsOf, manifest, pack, packageNames } from './workspace.mjs';

const folder = mkdtempSync(join(tmpdir(), 'lovage-pack-'));
const manifestAt = (path) => JSON.parse(readFileSync(join(path, 'package.json'), 'utf8'));
const problems = [];
const built = new Set(JSON.parse(readFileSync(join(root, 'tsconfig.json'), 'utf8')).references.map(({ path }) => path));

try {
  for (const name of packageNames) {
    const cwd = join(root, 'packages', name);
    const full = manifest(name).name;
    if (!built.has(`packages/${name}`)) problems.push(`${full}: tsconfig.json does not build it`);
    const tarball = await pack(name, folder);
    const lint = await run(process.execPath, [join(root, 'node_modules/publint/src/cli.js'), '--strict', tarball], {
      quiet: true,
    });
    if (lint.code !== 0) problems.push(`${full}: publint\n${lint.output}`);
    const types = await run(
      process.execPath,
      [join(root, 'node_modules/@arethetypeswrong/cli/dist/index.js'), '--profile', 'esm-only', tarball],
      { quiet: true },
    );
    if (types.code !== 0) problems.push(`${full}: attw\n${types.output}`);
    const files = await must('tar', ['tzf', tarball], { quiet: true });
    const stray = files.split('\n').filter((file) => /\.test(-d)?\.ts$|\/test\/|tsbuildinfo/.test(file));
    if (stray.length > 0) problems.push(`${full}: files that users do not need: ${stray.join(', ')}`);
    for (const [dependency, path] of runtimeTree(cwd)) {
      const { scripts = {} } = manifestAt(path);
      const atInstall = ['preinstall', 'install', 'postinstall'].filter((script) => scripts[script] !== undefined);
      if (atInstall.length > 0)
        problems.push(`${full}: ${dependency} runs ${atInstall.join(', ')} when it is installed`);
    }
    const allowed = clientsOf(name);
    const foreign = [...runtimeTree(cwd).keys()].filter(
      (dependency) => clients.includes(dependency) && !allowed.includes(dependency),
    );
    if (foreign.length > 0) problems.push(`${full}: brings along ${foreign.join(', ')}`);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}

for (const problem of problems) console.error(problem);
console.log(`${packageNames.length} packages looked at, ${problems.length} problems`);
process.exitCode = problems.length === 0 ? 0 : 1;

/** Every package that an installation of this one brings along, by name. */
function runtimeTree(start) {
  const seen = new Map();
  const queue = [start];
  for (let path = queue.shift(); path !== undefined; path = queue.shift()) {
    const { dependencies = {} } = manifestAt(path);
    for (const name of Object.keys(dependencies)) {
      if (seen.has(name)) continue;
      const found = locate(name, path);
      if (found === undefined) continue;
      seen.set(name, found);
      queue.push(found);
    }
  }
  return seen;
}

function locate(name, from) {
  for (let folder = from; folder !== '/'; folder = join(folder, '..')) {
    for (const candidate of [
      join(folder, 'node_modules', name),
      folder.endsWith('/node_modules') ? join(folder, name) : undefined,
    ]) {
      if (candidate === undefined) continue;
      try {
        return realPathOf(candidate);
      } catch {
        // not in this folder; the next one up
      }
    }
  }
  return undefined;
}

function realPathOf(path) {
  manifestAt(path);
  return realpathSync(path);
}
