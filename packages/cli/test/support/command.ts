import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const bin = fileURLToPath(new URL('../../dist/bin.js', import.meta.url));

export interface Running {
  readonly child: ChildProcess;
  readonly ended: Promise<{ code: number | null; out: string; err: string }>;
  /** Resolves when the error stream has said this. */
  said(text: string): Promise<void>;
}

/** The `lovage` command as a process in a folder. */
export function startCommand(folder: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Running {
  const { LOVAGE_APP: _, CELERY_BROKER_URL: __, CELERY_RESULT_BACKEND: ___, ...clean } = process.env;
  const child = spawn(process.execPath, [bin, ...args], {
    cwd: folder,
    env: { ...clean, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let out = '';
  let err = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text));
  const ended = once(child, 'close').then(([code]) => ({ code: code as number | null, out, err }));
  const said = (text: string): Promise<void> =>
    new Promise((resolve, reject) => {
      const look = (): void => void (err.includes(text) && resolve());
      child.stderr.on('data', look);
      look();
      void ended.then(() => reject(new Error(`It ended without saying "${text}": ${err}`)));
    });
  return { child, ended, said };
}

/** Kills what still runs. */
export async function endAll(started: readonly Running[]): Promise<void> {
  await Promise.all(
    started.map(async ({ child, ended }) => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGKILL');
      await ended;
    }),
  );
}
