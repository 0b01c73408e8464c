// Processes for the scripts: run one to its end, or pnpm in the version that package.json names.
import { spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('..', import.meta.url));

/** Runs a program and resolves with its exit code; output goes to ours unless `quiet`. */
export function run(command, args, { cwd = root, env = process.env, quiet = false } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd,
      env,
      stdio: quiet ? ['ignore', 'pipe', 'pipe'] : ['ignore', 'inherit', 'inherit'],
    });
    let output = '';
    child.stdout?.on('data', (chunk) => (output += chunk));
    child.stderr?.on('data', (chunk) => (output += chunk));
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({ code: code ?? 128, signal, output }));
  });
}

/** Runs a program; throws when it fails, with its output where that was kept back. */
export async function must(command, args, options) {
  const { code, output } = await run(command, args, options);
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${code}\n${output}`);
  return output;
}

export function has(command) {
  return spawnSync('sh', ['-c', 'command -v "$1"', 'sh', command]).status === 0;
}

const { packageManager } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
const version = packageManager.split('@').at(-1);

/** The command that is pnpm here: the installed one when its version fits, else npm fetches it. */
export function pnpmCommand() {
  const installed = spawnSync('pnpm', ['--version'], { cwd: root, encoding: 'utf8' });
  return installed.stdout?.trim() === version
    ? ['pnpm']
    : ['npm', 'exec', '--yes', `--package=pnpm@${version}`, '--', 'pnpm'];
}

export function pnpm(args, options) {
  const [command, ...before] = pnpmCommand();
  return must(command, [...before, ...args], options);
}
