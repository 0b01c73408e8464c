import type { Lovage } from '@lovage/core';
import { maskUrl } from '@lovage/core/transport';
import { Command } from 'commander';
import { withBroker } from '../broker/with-broker.ts';
import { globalOptions, openApp } from '../context.ts';
import { DotGraph, LEAF, NODE } from '../dot.ts';
import { CommandError, EXIT } from '../exit-codes.ts';
import { countOrNone, seconds } from '../option-values.ts';

interface WorkersOptions {
  readonly timeout: number;
}

/** `lovage graph`: pictures of a cluster, as Graphviz reads them. */
export function graphCommand(): Command {
  const group = new Command('graph').description('Draw the cluster, in the language of Graphviz (DOT)');
  group
    .command('workers')
    .description('The workers with their slots, the broker and the result store')
    .argument('[arguments...]', 'see below')
    .option('-t, --timeout <seconds>', 'wait so long for answers', seconds, 1)
    .addHelpText(
      'after',
      `
Arguments, as Celery's: nodes:a,b and threads:2,4 instead of asking workers; broker:URL, backend:URL; generic shows the
kind of broker and store only; enumerate numbers the workers; wmax:4 and tmax:3 are how many are drawn, 0: all.

Examples:
  lovage -A ./tasks graph workers | dot -Tsvg > workers.svg
  lovage -A ./tasks graph workers nodes:mail@a,mail@b threads:4,4 generic`,
    )
    .action(workers);
  group
    .command('bindings')
    .description('Which exchange leads to which queue, by which routing key')
    .option('--api <url>', "of RabbitMQ's management plugin (default: http://HOST:15672)")
    .addHelpText('after', '\nExamples:\n  lovage -A ./tasks graph bindings | dot -Tsvg > bindings.svg')
    .action((options: { readonly api?: string }, command: Command) =>
      withBroker(command, async ({ app, connection }) => {
        const { knownBindings } = await import('../broker/bindings.ts');
        const { bindings, exchanges } = await knownBindings(app, connection, options.api);
        const graph = new DotGraph();
        for (const { name, type } of exchanges)
          graph.node(name, { ...NODE, label: `${name} (${type})`, shape: 'ellipse' });
        for (const queue of new Set(bindings.map((one) => one.queue)))
          graph.node(`queue ${queue}`, { ...LEAF, label: queue });
        for (const { queue, exchange, routingKey } of bindings)
          graph.edge(exchange, `queue ${queue}`, routingKey === '' ? {} : { label: routingKey });
        process.stdout.write(`${String(graph)}\n`);
      }),
    );
  return group;
}

async function workers(given: readonly string[], { timeout }: WorkersOptions, command: Command): Promise<void> {
  const app = await openApp(globalOptions(command));
  try {
    const args = new Map(given.map((text) => splitOnce(text)));
    const nodes = args.has('nodes') ? listed(args) : await asked(app, timeout);
    process.stdout.write(`${String(draw(app, nodes, args))}\n`);
  } finally {
    await app.close();
  }
}

interface GraphNode {
  readonly name: string;
  readonly slots: number;
}

function listed(args: ReadonlyMap<string, string>): readonly GraphNode[] {
  const threads = (args.get('threads') ?? '').split(',').filter(Boolean);
  return (args.get('nodes') ?? '')
    .split(',')
    .filter(Boolean)
    .map((name, at) => ({ name, slots: countOrNone(threads[at] ?? '0') }));
}

async function asked(app: Lovage, timeout: number): Promise<readonly GraphNode[]> {
  const replies = await app.control.inspect({ timeout }).stats();
  const nodes = Object.entries(replies).map(([name, reply]) => {
    const pool = (reply as { readonly pool?: { readonly 'max-concurrency'?: number } }).pool;
    return { name, slots: pool?.['max-concurrency'] ?? 0 };
  });
  if (nodes.length === 0) throw new CommandError('No nodes replied within time constraint', EXIT.unavailable);
  return nodes.toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

/** Source: celery/bin/graph.py, workers. */
function draw(app: Lovage, nodes: readonly GraphNode[], args: ReadonlyMap<string, string>): DotGraph {
  const isGeneric = args.has('generic');
  const graph = new DotGraph();
  const { brokerReadUrl, brokerUrl, resultBackend } = app.settings;
  const broker = maskUrl(args.get('broker') ?? [brokerReadUrl ?? brokerUrl].flat().join(';'));
  const backend = args.get('backend') ?? resultBackend ?? undefined;
  const labelOf = (kind: string, url: string): string => (isGeneric ? `${kind} (${url.split('://')[0]}://)` : url);
  const brokerLabel = labelOf('Broker', broker);
  graph.node(brokerLabel, { fillcolor: 'cadetblue3', color: 'cadetblue4', shape: 'circle', height: 1 });
  const backendLabel = backend === undefined ? undefined : labelOf('Backend', maskUrl(backend));
  if (backendLabel !== undefined && backendLabel !== brokerLabel) {
    graph.node(backendLabel, { shape: 'folder', width: 2, height: 1, color: 'black', fillcolor: 'peachpuff3' });
  }
  const shown = abbreviated(nodes, countOrNone(args.get('wmax') ?? '4'));
  let slotNumber = 0;
  for (const [at, { name, slots, left }] of shown.entries()) {
    const worker =
      left === undefined
        ? args.has('enumerate')
          ? `Worker${subscript(at + 1)}`
          : name
        : `W{\u2026${subscript(left)}}`;
    graph.node(worker, NODE);
    graph.edge(worker, brokerLabel);
    if (backendLabel !== undefined) graph.edge(worker, backendLabel);
    const all = Array.from({ length: slots }, (_, slot) => ({ name: String(slot + 1) }));
    for (const slot of abbreviated(all, countOrNone(args.get('tmax') ?? '3'))) {
      const id = `thr-${++slotNumber}`;
      const label = slot.left === undefined ? `P${subscript(Number(slot.name))}` : `P{\u2026${subscript(slot.left)}}`;
      graph.node(id, {
        label,
        fillcolor: 'lightcyan4',
        fontcolor: 'yellow',
        shape: 'oval',
        fontsize: 10,
        width: 0.3,
        color: 'black',
      });
      graph.edge(id, worker, { arrowhead: 'none', arrowtail: 'tee' });
    }
  }
  return graph;
}

/** The first ones, one that stands for `left` others, and the last one. 0: all. */
function abbreviated<T extends object>(items: readonly T[], most: number): readonly (T & { readonly left?: number })[] {
  if (most === 0 || items.length <= most || most < 3) return items;
  const last = items.at(-1) as T;
  const left = items.length - (most - 1);
  return [...items.slice(0, most - 2), { ...(items[most - 2] as T), slots: 0, left }, last];
}

function subscript(value: number): string {
  return String(value).replace(/\d/g, (digit) => String.fromCodePoint(0x2080 + Number(digit)));
}

function splitOnce(text: string): readonly [string, string] {
  const at = text.indexOf(':');
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
}
