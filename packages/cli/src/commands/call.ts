import { isLovageError, type AsyncResult, type GetOptions } from '@lovage/core';
import { Command } from 'commander';
import { globalOptions, openApp, print } from '../context.ts';
import { CommandError, EXIT } from '../exit-codes.ts';
import { number, seconds } from '../option-values.ts';

interface CallOptions {
  readonly args?: string;
  readonly kwargs?: string;
  readonly eta?: string;
  readonly countdown?: number;
  readonly expires?: string;
  readonly serializer?: string;
  readonly queue?: string;
  readonly exchange?: string;
  readonly routingKey?: string;
  readonly priority?: number;
  readonly wait?: number | true;
  readonly json?: boolean;
}

/** `lovage call NAME`: publishes a task and prints its id; `--wait` prints the result instead. */
export function callCommand(): Command {
  return new Command('call')
    .description('Call a task by name and print its id')
    .argument('<name>', 'the task, for example tasks.add')
    .option('-a, --args <json>', 'positional arguments, a JSON array')
    .option('-k, --kwargs <json>', 'keyword arguments, a JSON object')
    .option('--eta <iso>', 'when to run: ISO 8601')
    .option('--countdown <seconds>', 'seconds to wait before it may run', number)
    .option('--expires <when>', 'give up after: seconds, or ISO 8601')
    .option('--serializer <name>', 'json, yaml or msgpack')
    .option('--queue <name>', 'queue to use')
    .option('--exchange <name>', 'exchange to use')
    .option('--routing-key <key>', 'routing key to use')
    .option('--priority <0-9>', 'priority', number)
    .option('-w, --wait [seconds]', 'wait for the result and print it', seconds)
    .option('-j, --json', 'print JSON')
    .addHelpText(
      'after',
      `
Examples:
  lovage -A ./tasks call tasks.add -a '[2, 2]'
  lovage -b redis://localhost call proj.mail -k '{"to": "ada@example.org"}' --countdown 60
  lovage -A ./tasks call tasks.add -a '[2, 2]' --wait 10`,
    )
    .action(async (name: string, options: CallOptions, command: Command) => {
      const app = await openApp(globalOptions(command));
      try {
        const { args, kwargs, wait, json = false, expires, ...rest } = options;
        const result = await app.sendTask(name, {
          ...rest,
          ...(args === undefined ? {} : { args: parse(args, '--args', Array.isArray) as unknown[] }),
          ...(kwargs === undefined ? {} : { kwargs: parse(kwargs, '--kwargs', isObject) as Record<string, unknown> }),
          ...(expires === undefined ? {} : { expires: Number.isNaN(Number(expires)) ? expires : Number(expires) }),
        });
        if (wait === undefined) return print({ task_id: result.id }, json, result.id);
        const value = await waitFor(result, wait);
        print({ task_id: result.id, result: value }, json, render(value));
      } catch (error) {
        // An option of this call, not a setting of the app.
        if (isLovageError(error, 'ERR_CONFIG') && 'option' in error)
          throw new CommandError(error.message, EXIT.usage, { cause: error });
        if (isLovageError(error, 'ERR_TASK_FAILED'))
          throw new CommandError(error.message, EXIT.failed, { cause: error });
        throw error;
      } finally {
        await app.close();
      }
    });
}

/** The end of a task; when `--wait` was too short the command has failed, though nothing is out of reach. */
export async function waitFor(result: AsyncResult, wait: number | true, options: GetOptions = {}): Promise<unknown> {
  try {
    return await result.get({ ...options, ...(typeof wait === 'number' ? { timeout: wait } : {}) });
  } catch (error) {
    if (isLovageError(error, 'ERR_TIMEOUT') && 'taskId' in error)
      throw new CommandError(error.message, EXIT.failed, { cause: error });
    throw error;
  }
}

export function render(value: unknown): string {
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? String(value));
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function parse(text: string, option: string, isRight: (value: unknown) => boolean): unknown {
  const expected =
    option === '--args'
      ? `a JSON array, for example ${option} '[2, 2]'`
      : `a JSON object, for example ${option} '{"x": 2}'`;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new CommandError(`${option} is not JSON: ${text}. Expected ${expected}.`, EXIT.usage, { cause });
  }
  if (!isRight(value)) throw new CommandError(`${option} is ${text}. Expected ${expected}.`, EXIT.usage);
  return value;
}
