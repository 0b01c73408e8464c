import type { Command } from 'commander';

/** A verb of the command line. Its module is read when the verb is used: `--help` is there at once. */
export interface Verb {
  readonly name: string;
  /** Its line in the list of verbs. */
  readonly summary: string;
  readonly group: string;
  readonly load: () => Promise<Command>;
}

const RUN = 'Run:';
const TASKS = 'Tasks:';
const CLUSTER = 'Workers:';
const BROKER = 'Broker:';
export const PROJECT = 'Project:';

/** All verbs, in the order of the help. */
export const VERBS: readonly Verb[] = [
  {
    name: 'init',
    summary: 'make a new project: broker, tasks, config, scripts',
    group: PROJECT,
    load: async () => (await import('./commands/init.ts')).initCommand(),
  },
  {
    name: 'dev',
    summary: 'worker and beat, started again when a file changes',
    group: PROJECT,
    load: async () => (await import('./commands/dev.ts')).devCommand(),
  },
  {
    name: 'worker',
    summary: 'take tasks from the broker, run them, store their results',
    group: RUN,
    load: async () => (await import('./commands/worker.ts')).workerCommand(),
  },
  {
    name: 'beat',
    summary: 'send periodic tasks at their times',
    group: RUN,
    load: async () => (await import('./commands/beat.ts')).beatCommand(),
  },
  {
    name: 'multi',
    summary: 'start, stop and restart several workers in the background',
    group: RUN,
    load: async () => (await import('./commands/multi.ts')).multiCommand(),
  },
  {
    name: 'call',
    summary: 'call a task by name; print its id, or wait for its result',
    group: TASKS,
    load: async () => (await import('./commands/call.ts')).callCommand(),
  },
  {
    name: 'result',
    summary: 'print what became of a task',
    group: TASKS,
    load: async () => (await import('./commands/result.ts')).resultCommand(),
  },
  {
    name: 'schedule',
    summary: 'show periodic tasks, run one now, pause and resume them',
    group: TASKS,
    load: async () => (await import('./commands/schedule.ts')).scheduleCommand(),
  },
  {
    name: 'status',
    summary: 'which workers are online',
    group: CLUSTER,
    load: async () => (await import('./commands/remote.ts')).statusCommand(),
  },
  {
    name: 'inspect',
    summary: 'ask workers what they do',
    group: CLUSTER,
    load: async () => (await import('./commands/remote.ts')).inspectCommand(),
  },
  {
    name: 'control',
    summary: 'tell workers what to do',
    group: CLUSTER,
    load: async () => (await import('./commands/remote.ts')).controlCommand(),
  },
  {
    name: 'events',
    summary: 'watch workers and tasks: a live view, or each event as a line',
    group: CLUSTER,
    load: async () => (await import('./commands/events.ts')).eventsCommand(),
  },
  {
    name: 'graph',
    summary: 'draw the cluster, for Graphviz',
    group: CLUSTER,
    load: async () => (await import('./commands/graph.ts')).graphCommand(),
  },
  {
    name: 'queues',
    summary: 'count, look into, move, empty and delete queues; dead letters too',
    group: BROKER,
    load: async () => (await import('./commands/queues.ts')).queuesCommand(),
  },
  {
    name: 'purge',
    summary: 'drop all waiting messages',
    group: BROKER,
    load: async () => (await import('./commands/purge.ts')).purgeCommand(),
  },
  {
    name: 'migrate',
    summary: 'move waiting messages from one broker to another',
    group: BROKER,
    load: async () => (await import('./commands/migrate.ts')).migrateCommand(),
  },
  {
    name: 'list',
    summary: 'what the broker has: bindings',
    group: BROKER,
    load: async () => (await import('./commands/list.ts')).listCommand(),
  },
  {
    name: 'amqp',
    summary: "declare, bind, get and publish by AMQP's commands, on any broker",
    group: BROKER,
    load: async () => (await import('./commands/amqp.ts')).amqpCommand(),
  },
  {
    name: 'shell',
    summary: 'a JavaScript prompt with the app and its tasks',
    group: PROJECT,
    load: async () => (await import('./commands/shell.ts')).shellCommand(),
  },
  {
    name: 'report',
    summary: 'versions and settings for a bug report',
    group: PROJECT,
    load: async () => (await import('./commands/report.ts')).reportCommand(),
  },
  {
    name: 'upgrade',
    summary: 'rewrite settings of Celery or of older versions into lovage.config.ts',
    group: PROJECT,
    load: async () => (await import('./commands/upgrade.ts')).upgradeCommand(),
  },
  {
    name: 'logtool',
    summary: 'counts, errors and tasks without an end from logs of workers',
    group: PROJECT,
    load: async () => (await import('./commands/logtool.ts')).logtoolCommand(),
  },
  {
    name: 'completion',
    summary: 'completion of commands and options for bash, zsh and fish',
    group: PROJECT,
    load: async () => (await import('./commands/completion.ts')).completionCommand(),
  },
];
