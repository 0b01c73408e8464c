import { Command } from 'commander';
import { withBroker } from '../broker/with-broker.ts';
import { print } from '../context.ts';
import { renderTable } from '../render-answer.ts';

interface ListOptions {
  readonly api?: string;
  readonly json?: boolean;
}

/** `lovage list bindings`: what leads to which queue. */
export function listCommand(): Command {
  const group = new Command('list').description('What the broker has');
  group
    .command('bindings')
    .description('The bindings of the exchanges: which routing key leads to which queue')
    .option('--api <url>', "of RabbitMQ's management plugin (default: http://HOST:15672)")
    .option('-j, --json', 'print JSON')
    .addHelpText(
      'after',
      `
The queues of the app are declared first, as a worker does. Where the broker cannot tell, those of the app are shown.

Examples:
  lovage -A ./tasks list bindings
  lovage -A ./tasks list bindings --api http://guest:guest@localhost:15672 --json`,
    )
    .action((options: ListOptions, command: Command) =>
      withBroker(command, async ({ app, connection, globals }) => {
        const { knownBindings } = await import('../broker/bindings.ts');
        const { bindings, from, reason } = await knownBindings(app, connection, options.api);
        const rows = bindings
          .map(({ queue, exchange, routingKey }) => ({ queue, exchange, routing_key: routingKey }))
          .toSorted((a, b) => (a.queue < b.queue ? -1 : 1));
        print(
          { from, ...(reason === undefined ? {} : { reason }), bindings: rows },
          options.json === true,
          renderTable(
            ['Queue', 'Exchange', 'Routing Key'],
            rows.map(({ queue, exchange, routing_key: key }) => [queue, exchange, key]),
          ),
        );
        if (reason !== undefined && globals.quiet !== true && options.json !== true)
          process.stderr.write(`${reason} These are the bindings of the app.\n`);
      }),
    );
  return group;
}
