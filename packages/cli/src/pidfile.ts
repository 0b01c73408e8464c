import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { CommandError, EXIT } from './exit-codes.ts';

/** Writes the process id into the file, unless that of another running process is there; gives what removes it. */
export function takePidfile(file: string): () => void {
  if (existsSync(file)) {
    const pid = readPid(file);
    // In a container each start may have the same id: then the file was left by the one before.
    if (Number.isInteger(pid) && pid > 0 && pid !== process.pid && isRunning(pid)) {
      throw new CommandError(
        `${file} names process ${pid}, which runs. Stop it first, or give this one a --pidfile of its own.`,
        EXIT.failed,
      );
    }
    rmSync(file);
  }
  try {
    mkdirSync(dirname(file), { recursive: true });
    // "wx" follows no link that somebody put there meanwhile.
    writeFileSync(file, `${process.pid}\n`, { flag: 'wx', mode: 0o600 });
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    throw new CommandError(`The file ${file} of --pidfile cannot be written: ${message}`, EXIT.failed, { cause });
  }
  return () => rmSync(file, { force: true });
}

/** The number in a pidfile; NaN: there is none. */
export function readPid(file: string): number {
  try {
    return Number(readFileSync(file, 'utf8'));
  } catch (cause) {
    throw new CommandError(`The pidfile ${file} cannot be read: ${(cause as Error).message}`, EXIT.failed, { cause });
  }
}

export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
