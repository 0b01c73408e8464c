// What `pnpm new` makes must build, pass the lint, and have a kit that fails until it is written: tried beside the
// checkout's packages, without changing the checkout.
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { newPackage } from './new-package.mjs';
import { root, run } from './run.mjs';

const bin = (path) => join(root, 'node_modules', path);
const copy = mkdtempSync(join(tmpdir(), 'lovage-scaffold-'));
const problems = [];
try {
  for (const file of ['package.json', 'tsconfig.base.json', 'vitest.config.ts', '.oxlintrc.json'])
    cpSync(join(root, file), join(copy, file));
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
  mkdirSync(join(copy, 'packages'));
  for (const name of readdirSync(join(root, 'packages')))
    symlinkSync(join(root, 'packages', name), join(copy, 'packages', name));
  for (const kind of ['transport', 'backend']) await check(kind);
} finally {
  rmSync(copy, { recursive: true, force: true });
}
for (const problem of problems) console.error(problem);
console.log(`new packages: ${problems.length} problems`);
process.exitCode = problems.length === 0 ? 0 : 1;

async function check(kind) {
  const name = `${kind}-made-up`;
  const folder = `packages/${name}`;
  const files = newPackage(kind, 'made-up');
  for (const [path, text] of files) {
    if (!path.startsWith(folder)) continue;
    mkdirSync(dirname(join(copy, path)), { recursive: true });
    writeFileSync(join(copy, path), text);
  }
  const scope = join(copy, folder, 'node_modules/@lovage');
  mkdirSync(scope, { recursive: true });
  for (const other of ['core', 'conformance']) symlinkSync(join(root, 'packages', other), join(scope, other));
  symlinkSync(join(copy, folder), join(scope, name));
  await expectSuccess(`the build of ${name}`, [bin('typescript/bin/tsc'), '-b', folder]);
  await expectSuccess(`the lint of ${name}`, [bin('oxlint/bin/oxlint'), '--quiet', `${folder}/src`]);
  const kit = await run(
    process.execPath,
    [bin('vitest/vitest.mjs'), 'run', '--root', copy, '--project', 'broker', '--bail', '1', folder],
    { cwd: copy, quiet: true, env: { ...process.env, LOVAGE_KIT_REPORT: '' } },
  );
  if (kit.code === 0 || !kit.output.includes('still to be written'))
    problems.push(`the kit of ${name} does not fail as it should:\n${kit.output.slice(-2000)}`);
  if (!files.get(`packages/core/src/${kind}/resolve.ts`).includes(`['made-up', '@lovage/${name}']`))
    problems.push(`${name}: its scheme is not in core's table`);
  if (!files.get('tsconfig.json').includes(`"path": "${folder}"`)) problems.push(`${name}: it is not built`);
}

async function expectSuccess(what, args) {
  const { code, output } = await run(process.execPath, args, { cwd: copy, quiet: true });
  if (code !== 0) problems.push(`${what} ended with ${code}:\n${output}`);
}
