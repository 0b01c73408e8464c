import { once } from 'node:events';
import { createInterface } from 'node:readline/promises';
import { CommandError, EXIT } from './exit-codes.ts';

/** Asks at the terminal. Anything but yes ends the command: no, the end of input, Ctrl+C, a script that cannot answer. */
export async function confirm(question: string): Promise<void> {
  if (!process.stdin.isTTY) {
    throw new CommandError(`There is no terminal to ask at: ${question} Use --force in scripts.`, EXIT.usage);
  }
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  terminal.once('SIGINT', () => terminal.close());
  // The answer of a terminal that was closed never comes, or is an error that says so.
  const answer = await Promise.race([
    terminal.question(`${question} They cannot be brought back. [y/N] `).catch(() => ''),
    once(terminal, 'close').then(() => ''),
  ]);
  terminal.close();
  if (!/^y(es)?$/i.test(answer.trim())) throw new CommandError('Nothing was done.', EXIT.failed);
}
