import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, openSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { Option, type Command } from 'commander';
import { CommandError, EXIT } from './exit-codes.ts';

/** Options of commands that may run in the background. Source: celery/bin/base.py, CeleryDaemonCommand. */
export interface DaemonOptions {
  readonly detach?: boolean;
  readonly uid?: string;
  readonly gid?: string;
  readonly umask?: number;
  readonly executable?: string;
}

export function addDaemonOptions(command: Command, detachFlags: string): Command {
  return command
    .option(detachFlags, 'run in the background; ends when it has started, or says why it has not')
    .option('--uid <user>', 'become this user, by name or number')
    .option('--gid <group>', 'become this group, by name or number')
    .addOption(new Option('--umask <mask>', 'of the files that it creates, octal: 027').argParser(octal))
    .option('--executable <path>', 'with --detach: the Node to run it with');
}

/** What tells the command in the background that it is there already. */
const INSIDE = 'LOVAGE_DETACHED';
const isInside = process.env[INSIDE] === '1';
// Not for what it starts itself.
delete process.env[INSIDE];

interface StartReport {
  readonly started?: true;
  readonly error?: string;
  readonly exitCode?: number;
}

/**
 * Begins a command that may run in the background. True: it does, as another process, and this one is done. Else this
 * process has become the user that was asked for. `workdir`: where the command will be, for the file.
 */
export async function daemonize(options: DaemonOptions, logfile: string | undefined, workdir = '.'): Promise<boolean> {
  if (options.detach === true && !isInside) {
    await startInside(options.executable ?? process.execPath, logfile && resolve(workdir, logfile));
    return true;
  }
  dropPrivileges(options);
  return false;
}

/** The same command line once more, without a terminal. Resolves when it says that it has started. */
async function startInside(executable: string, logfile: string | undefined): Promise<void> {
  const output = logfile === undefined ? 'ignore' : openLog(logfile);
  const { inheritedOptions } = await import('@lovage/worker');
  const child = spawn(executable, [...inheritedOptions(process.execArgv), ...process.argv.slice(1)], {
    detached: true,
    stdio: ['ignore', output, output, 'ipc'],
    env: { ...process.env, [INSIDE]: '1' },
  });
  const [report] = (await Promise.race([
    once(child, 'message'),
    once(child, 'exit').then(([code, signal]) => [{ exitCode: code ?? EXIT.failed, error: ended(code, signal) }]),
  ])) as [StartReport];
  if (report.error !== undefined) {
    throw new CommandError(
      report.error.replace(/^Error: /, ''),
      report.exitCode === undefined || report.exitCode === 0 ? EXIT.failed : report.exitCode,
    );
  }
  child.disconnect();
  child.unref();
}

function ended(code: number | null, signal: string | null): string {
  return `The command in the background ended before it had started (${signal ?? `exit code ${code}`}). Its --logfile may say why.`;
}

function openLog(file: string): number {
  try {
    mkdirSync(dirname(file), { recursive: true });
    return openSync(file, 'a');
  } catch (cause) {
    throw new CommandError(`The file ${file} of --logfile cannot be written.`, EXIT.failed, { cause });
  }
}

/** Tells whoever started this in the background that it is up; elsewhere does nothing. */
export function reportStarted(): void {
  report({ started: true });
}

/** Tells whoever started this in the background why it is not. */
export function reportFailure(error: string, exitCode: number): void {
  report({ error, exitCode });
}

function report(message: StartReport): void {
  if (!isInside || process.send === undefined || !process.connected) return;
  process.send(message, () => process.connected && process.disconnect());
}

/** The group first: a user that is not root cannot change it. */
function dropPrivileges({ uid, gid, umask }: DaemonOptions): void {
  if (umask !== undefined) process.umask(umask);
  if (uid === undefined && gid === undefined) return;
  if (process.setuid === undefined || process.setgid === undefined) {
    throw new CommandError('--uid and --gid do not exist on this system.', EXIT.usage);
  }
  try {
    // Root's further groups are not the user's.
    if (gid !== undefined && process.geteuid?.() === 0) process.setgroups?.([id(gid)]);
    if (gid !== undefined) process.setgid(id(gid));
    if (uid !== undefined) process.setuid(id(uid));
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    throw new CommandError(
      `This process cannot become ${[uid, gid].filter(Boolean).join(':')}: ${message}. Start it as root, or as that user.`,
      EXIT.failed,
      { cause },
    );
  }
}

function id(text: string): string | number {
  return /^\d+$/.test(text) ? Number(text) : text;
}

function octal(text: string): number {
  if (/^(?:0o)?[0-7]{1,4}$/.test(text)) return Number.parseInt(text.replace('0o', ''), 8);
  throw new CommandError(`"${text}" is no mask of a file's mode. Expected octal digits, for example 027.`, EXIT.usage);
}
