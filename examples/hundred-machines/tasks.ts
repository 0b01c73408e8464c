import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { Lovage } from '@lovage/core';

export const app = new Lovage('machines', {
  broker: process.env.LOVAGE_BROKER ?? 'sqla+sqlite:///machines.db',
  backend: process.env.LOVAGE_BACKEND ?? 'db+sqlite:///machines.db',
});

const run = promisify(execFile);

/** Commands a machine may be asked to run; nothing from a message becomes a program name. */
const COMMANDS: Readonly<Record<string, readonly [string, ...string[]]>> = {
  uptime: ['uptime'],
  kernel: ['uname', '-r'],
};

/** Runs one of the known commands on the machine whose queue the message was sent to. */
export const execute = app.task(
  'machines.execute',
  { params: ['command', 'machine'], timeLimit: 300 },
  async (command: string, machine: string) => {
    const [program, ...args] = COMMANDS[command] ?? [];
    if (program === undefined)
      throw new Error(`No command is named "${command}". Expected one of: ${Object.keys(COMMANDS).join(', ')}.`);
    const { stdout } = await run(program, args);
    return { machine, output: stdout.trim() };
  },
);

/** Each machine has a queue of its own, named after it. */
export const queueOf = (machine: string): string => `machine-${machine}`;
