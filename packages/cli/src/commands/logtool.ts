import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { Command } from 'commander';
import { print } from '../context.ts';
import { CommandError, EXIT } from '../exit-codes.ts';
import { Audit, type LogEntry, type LogReport, LogReader, taskOf } from '../logtool/audit.ts';

interface LogtoolOptions {
  readonly json?: boolean;
}

/** `lovage logtool`: what the logs of workers say, Celery's too. */
export function logtoolCommand(): Command {
  const group = new Command('logtool').description(
    'Read logs of workers: counts, errors, tracebacks, tasks without an end',
  );
  const verb = (name: string, description: string): Command =>
    group
      .command(name)
      .description(description)
      .argument('[files...]', 'in their order (default: standard input)')
      .option('-j, --json', 'print JSON')
      .addHelpText(
        'after',
        `\nExamples:\n  lovage logtool ${name} worker-1.log worker-2.log\n  journalctl -u lovage -o cat | lovage logtool ${name} --json`,
      );
  const entries =
    (wants: (entry: LogEntry, isError: boolean) => boolean, part: (entry: LogEntry) => string) =>
    async (files: readonly string[], { json = false }: LogtoolOptions): Promise<void> => {
      const audit = new Audit();
      await read(files, (entry) => {
        if (!wants(entry, audit.add(entry))) return;
        process.stdout.write(json ? `${JSON.stringify({ ...taskOf(entry), ...entry })}\n` : `${part(entry)}\n`);
      });
    };
  verb('stats', 'How many tasks were received, and what became of them').action(
    async (files: readonly string[], { json = false }: LogtoolOptions) => {
      const audit = new Audit();
      await read(files, (entry) => void audit.add(entry));
      const report = audit.report();
      print({ ...report, types: Object.fromEntries(report.types) }, json, renderReport(report));
    },
  );
  verb('errors', 'The lines of tasks that did not succeed').action(
    entries(
      (_, isError) => isError,
      ({ line }) => line,
    ),
  );
  verb('traces', 'Entries with a traceback').action(
    entries(
      ({ more }) => more.length > 0,
      ({ line, more }) => [line, ...(line.startsWith('{') ? [] : more)].join('\n'),
    ),
  );
  verb('incomplete', 'Tasks that were received and did not end').action(
    async (files: readonly string[], { json = false }: LogtoolOptions) => {
      const audit = new Audit();
      await read(files, (entry) => void audit.add(entry));
      const { incomplete } = audit.report();
      if (json) print(incomplete, true, '');
      else for (const id of incomplete) process.stdout.write(`Did not complete: ${id}\n`);
    },
  );
  verb('debug', 'Everything that is not about a task').action(
    entries(
      (entry) => taskOf(entry) === undefined,
      ({ line }) => line,
    ),
  );
  return group.addHelpText(
    'after',
    `
Lines in Celery's format and JSON are read, from workers of both kinds.

Examples:
  lovage logtool stats worker.log
  cat *.log | lovage logtool errors`,
  );
}

async function read(files: readonly string[], onEntry: (entry: LogEntry) => void): Promise<void> {
  const reader = new LogReader(onEntry);
  for (const file of files.length === 0 ? ['-'] : files) {
    // Each when its turn comes: an error of one that nobody reads yet would end the process.
    const input = files.length === 0 ? process.stdin : createReadStream(file);
    try {
      for await (const line of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) reader.feed(line);
    } catch (cause) {
      throw new CommandError(`The file ${file} cannot be read: ${(cause as Error).message}`, EXIT.failed, { cause });
    }
  }
  reader.end();
}

function renderReport({ total, completed, succeeded, errors, retries, types }: LogReport): string {
  return [
    `Task total: ${total}`,
    `Task errors: ${errors}`,
    `Task success: ${succeeded}`,
    `Task completed: ${completed}`,
    `Task retries: ${retries}`,
    ...(types.length === 0 ? [] : ['', 'Tasks:']),
    ...types.map(([name, count]) => `  ${name}: ${count}`),
  ].join('\n');
}
