import { spawn } from 'node:child_process';
import { detect, getUserAgent, resolveCommand, type AgentName, type Command } from 'package-manager-detector';
import { CommandError, EXIT } from '../exit-codes.ts';

export const PACKAGE_MANAGERS = ['npm', 'pnpm', 'yarn', 'bun'] as const satisfies AgentName[];
export type PackageManager = (typeof PACKAGE_MANAGERS)[number];

/** The one that the folder is kept with, else the one that has started this command (\`npx\`, \`pnpm dlx\`), else npm. */
export async function findPackageManager(folder: string): Promise<PackageManager> {
  const name =
    (await detect({ cwd: folder, strategies: ['lockfile', 'packageManager-field'] }))?.name ?? getUserAgent();
  return PACKAGE_MANAGERS.find((one) => one === name) ?? 'npm';
}

/** A command line to show: of a script, or of a program of the project. */
export function commandLine(manager: PackageManager, act: Command, words: readonly string[]): string {
  const resolved = resolveCommand(manager, act, [...words]);
  return resolved === null ? words.join(' ') : [resolved.command, ...resolved.args].join(' ');
}

/** Installs what package.json names; what the package manager says is shown when it fails. */
export async function install(manager: PackageManager, folder: string): Promise<void> {
  const { command, args } = resolveCommand(manager, 'install', []) ?? { command: manager, args: ['install'] };
  const child = spawn(command, args, {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
    shell: process.platform === 'win32',
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', (cause) =>
      reject(
        new CommandError(
          `${command} could not be started. Install it, or choose another: --package-manager npm`,
          EXIT.failed,
          {
            cause,
          },
        ),
      ),
    );
    child.once('close', resolve);
  });
  if (code === 0) return;
  const line = [command, ...args].join(' ');
  throw new CommandError(
    `"${line}" ended with ${code}. The files are written; run it again in ${folder}.\n${output.trim().slice(-4000)}`,
    EXIT.failed,
  );
}
