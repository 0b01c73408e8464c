import { isLovageError } from '@lovage/core';
import { Command } from 'commander';
import { globalOptions, openApp, print } from '../context.ts';
import { EXIT } from '../exit-codes.ts';
import { seconds } from '../option-values.ts';
import { render, waitFor } from './call.ts';

interface ResultOptions {
  readonly task?: string;
  readonly traceback?: boolean;
  readonly wait?: number | true;
  readonly json?: boolean;
}

/** `lovage result ID`: prints what a task returned, or its error. */
export function resultCommand(): Command {
  return new Command('result')
    .description('Print the result of a task')
    .argument('<task-id>', 'the id that call printed')
    .option('-t, --task <name>', 'name of the task; accepted for compatibility, results are read by id')
    .option('--traceback', 'print the traceback instead of the error')
    .option('-w, --wait [seconds]', 'wait until the task has ended', seconds)
    .option('-j, --json', 'print JSON')
    .addHelpText(
      'after',
      `
Exit code 1 when the task failed, was revoked, or has not ended yet.

Examples:
  lovage -A ./tasks result 0c1a7e94-...
  lovage -A ./tasks result 0c1a7e94-... --wait 10          until it has ended
  lovage --result-backend redis://localhost result 0c1a7e94-... --traceback`,
    )
    .action(async (taskId: string, { traceback = false, wait, json = false }: ResultOptions, command: Command) => {
      const app = await openApp(globalOptions(command));
      try {
        const result = app.asyncResult(taskId);
        if (wait !== undefined) await waitFor(result, wait, { propagate: false });
        const state = await result.state();
        const value = await result.result();
        const text = (await result.traceback()) ?? null;
        const shown = isLovageError(value) ? value.message : value;
        print(
          { task_id: taskId, state, result: shown, traceback: text },
          json,
          traceback
            ? (text ?? '')
            : state === 'SUCCESS'
              ? render(shown)
              : shown === null
                ? state
                : `${state}: ${render(shown)}`,
        );
        if (state !== 'SUCCESS') process.exitCode = EXIT.failed;
      } finally {
        await app.close();
      }
    });
}
