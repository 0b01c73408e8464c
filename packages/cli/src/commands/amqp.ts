import { createInterface } from 'node:readline/promises';
import { isLovageError } from '@lovage/core';
import { Command } from 'commander';
import { ADMIN_COMMANDS, type AdminAnswer, BrokerAdmin } from '../broker/admin.ts';
import { withBroker } from '../broker/with-broker.ts';
import { CommandError, EXIT } from '../exit-codes.ts';

interface AmqpOptions {
  readonly json?: boolean;
}

/** `lovage amqp`: AMQP's own commands, one by one or in a session. */
export function amqpCommand(): Command {
  return new Command('amqp')
    .description("Declare, bind, delete, get and publish by AMQP's own commands, on any broker")
    .argument('[command]', 'see below; without one they are asked for')
    .argument('[arguments...]')
    .option('-j, --json', 'print JSON')
    .addHelpText(
      'after',
      `
Commands:
${commandList()}

In a session "help" lists them and "exit" leaves; what was taken and not acknowledged goes back then. Brokers without
exchanges of their own keep what is declared for one session, except for bindings.

Examples:
  lovage -A ./tasks amqp
  lovage -b amqp://localhost amqp queue.declare images
  lovage -b redis://localhost amqp basic.get celery --json`,
    )
    .action((name: string | undefined, args: readonly string[], options: AmqpOptions, command: Command) =>
      withBroker(command, async ({ app, connection, globals }) => {
        const admin = new BrokerAdmin(app, connection);
        const show = ({ text, value }: AdminAnswer): void =>
          void process.stdout.write(options.json === true ? `${JSON.stringify(value)}\n` : `${text}\n`);
        if (name === undefined) await session(admin, show, globals.quiet === true);
        else show(await admin.run([name, ...args]));
      }),
    );
}

async function session(admin: BrokerAdmin, show: (answer: AdminAnswer) => void, isQuiet: boolean): Promise<void> {
  const isTerminal = process.stdin.isTTY === true;
  const terminal = createInterface({
    input: process.stdin,
    output: isTerminal ? process.stdout : undefined,
    prompt: 'amqp> ',
    completer: (line: string) => [Object.keys(ADMIN_COMMANDS).filter((name) => name.startsWith(line)), line],
  } as Parameters<typeof createInterface>[0]);
  if (isTerminal && !isQuiet) process.stdout.write('Commands of AMQP; "help" lists them, "exit" leaves.\n');
  terminal.on('SIGINT', () => terminal.close());
  if (isTerminal) terminal.prompt();
  for await (const line of terminal) {
    const words = splitWords(line);
    if (words[0] === 'exit' || words[0] === 'quit') break;
    if (words[0] === 'help') process.stdout.write(`${commandList()}\n`);
    else if (words.length > 0 && !(await attempt(() => admin.run(words).then(show))) && !isTerminal) {
      // A script has to know; the lines after it run all the same.
      process.exitCode = EXIT.failed;
    }
    if (isTerminal) terminal.prompt();
  }
  terminal.close();
}

/** A mistake ends no session and gives false; a lost connection ends it. */
async function attempt(act: () => Promise<void>): Promise<boolean> {
  try {
    await act();
    return true;
  } catch (error) {
    const isMistake = error instanceof CommandError || (isLovageError(error) && error.code !== 'ERR_CONNECTION_LOST');
    if (!isMistake) throw error;
    process.stderr.write(`Error: ${error.message}\n`);
    return false;
  }
}

function commandList(): string {
  const rows = Object.entries(ADMIN_COMMANDS).map(([name, { usage, help }]) => [`  ${name} ${usage.join(' ')}`, help]);
  return rows.map(([left, help]) => `${left}\n      ${help}`).join('\n');
}

/** As a shell would: quotes keep spaces and may hold nothing. */
export function splitWords(line: string): readonly string[] {
  const words = line.match(/(?:"(?:\\.|[^"\\])*"|'[^']*'|\\.|[^\s"'\\])+/g) ?? [];
  return words.map((word) =>
    word.replace(/"((?:\\.|[^"\\])*)"|'([^']*)'|\\(.)/g, (_, double?: string, single?: string, escaped?: string) =>
      double === undefined ? (single ?? escaped ?? '') : double.replace(/\\(.)/g, '$1'),
    ),
  );
}
