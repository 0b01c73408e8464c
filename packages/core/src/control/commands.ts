/** What an argument is, for the command line and for messages. */
export type ArgumentType = 'text' | 'number' | 'integer' | 'flag';

/** One command of remote control as workers know it, and the command line shows it. */
export interface CommandInfo {
  readonly kind: 'inspect' | 'control';
  /** Positional arguments of the command line, in order. */
  readonly positional: readonly (readonly [name: string, type: ArgumentType])[];
  /** The name under which all further arguments are sent. */
  readonly variadic?: string;
  /** Further arguments that a message may have. */
  readonly named?: readonly string[];
  /** Without these the answer is a TypeError. */
  readonly required?: readonly string[];
  /** false: arguments that are not listed are a TypeError, as in Celery; true: they are ignored. */
  readonly isLenient: boolean;
  /** How the arguments are written, for help. */
  readonly usage?: string;
  readonly help: string;
  /** An older name of the same command. */
  readonly alias?: string;
  /** Not shown in help: workers ask each other. */
  readonly isHidden?: true;
}

const inspect = (help: string, facts: Partial<CommandInfo> = {}): CommandInfo => ({
  kind: 'inspect',
  positional: [],
  isLenient: true,
  help,
  ...facts,
});
const control = (help: string, facts: Partial<CommandInfo> = {}): CommandInfo => ({
  kind: 'control',
  positional: [],
  isLenient: true,
  help,
  ...facts,
});
const IDS = '[id1 [id2 [... [idN]]]]';

/**
 * Every command of Celery 5.6's workers, with its arguments in Celery's names and order.
 * Source: celery/worker/control.py.
 */
export const CONTROL_COMMANDS: Readonly<Record<string, CommandInfo>> = {
  active: inspect('Tasks that run now.', { named: ['safe'], alias: 'dump_active' }),
  active_queues: inspect('Queues that are consumed from.', { isLenient: false }),
  clock: inspect('The value of the logical clock.'),
  conf: inspect('Settings, secrets masked.', {
    positional: [['with_defaults', 'flag']],
    usage: '[include_defaults=False]',
    alias: 'dump_conf',
  }),
  hello: inspect('What workers tell each other when they start.', {
    required: ['from_node'],
    named: ['from_node', 'revoked'],
    isHidden: true,
  }),
  memdump: inspect('The samples that memsample took.', {
    positional: [['samples', 'integer']],
    usage: '[n_samples=10]',
  }),
  memsample: inspect('Memory that the worker uses now; kept for memdump.'),
  objgraph: inspect('A graph of objects that are not collected: see the answer.', {
    positional: [
      ['type', 'text'],
      ['num', 'integer'],
      ['max_depth', 'integer'],
    ],
    usage: '[object_type=Request] [num=200 [max_depth=10]]',
    isLenient: false,
  }),
  ping: inspect('Whether workers answer.'),
  query_task: inspect('Where tasks of these ids are in the worker.', {
    required: ['ids'],
    variadic: 'ids',
    usage: IDS,
  }),
  registered: inspect('Tasks that the worker knows, with some of their attributes.', {
    variadic: 'taskinfoitems',
    named: ['builtins'],
    usage: '[attr1 [attr2 [... [attrN]]]]',
    alias: 'dump_tasks',
  }),
  report: inspect('Versions and settings for a bug report.', { isLenient: false }),
  reserved: inspect('Tasks that could run and wait for a slot.', { alias: 'dump_reserved' }),
  revoked: inspect('Ids that are revoked.', { alias: 'dump_revoked' }),
  scheduled: inspect('Tasks that wait for their time.', { alias: 'dump_schedule' }),
  stats: inspect('Counts, pool, broker and resources of the worker.'),

  add_consumer: control('Consume from a queue.', {
    required: ['queue'],
    positional: [
      ['queue', 'text'],
      ['exchange', 'text'],
      ['exchange_type', 'text'],
      ['routing_key', 'text'],
    ],
    usage: '<queue> [exchange [type [routing_key]]]',
  }),
  autoscale: control('Change the bounds of the pool.', {
    positional: [
      ['max', 'integer'],
      ['min', 'integer'],
    ],
    usage: '[max [min]]',
    isLenient: false,
  }),
  cancel_consumer: control('Stop consuming from a queue.', {
    required: ['queue'],
    positional: [['queue', 'text']],
    usage: '<queue>',
  }),
  disable_events: control('Stop sending task events.', { isLenient: false }),
  election: control('Hold an election among workers; the elected one does the action.', {
    required: ['id', 'topic'],
    named: ['id', 'topic', 'action'],
  }),
  enable_events: control('Send task events.', { isLenient: false }),
  heartbeat: control('Send a heartbeat event now.', { isLenient: false }),
  pool_grow: control('Let more tasks run at once.', { positional: [['n', 'integer']], usage: '[N=1]' }),
  pool_restart: control('Start the pool anew.', { named: ['modules', 'reload', 'reloader'] }),
  pool_shrink: control('Let fewer tasks run at once.', { positional: [['n', 'integer']], usage: '[N=1]' }),
  rate_limit: control('Change how often tasks of a name may start.', {
    required: ['task_name', 'rate_limit'],
    positional: [
      ['task_name', 'text'],
      ['rate_limit', 'text'],
    ],
    usage: '<task_name> <rate_limit (e.g., 5/s | 5/m | 5/h)>',
  }),
  revoke: control('Never start tasks of these ids; with terminate, end those that run.', {
    required: ['task_id'],
    variadic: 'task_id',
    named: ['terminate', 'signal'],
    usage: IDS,
  }),
  revoke_by_stamped_headers: control('Revoke tasks by their stamps.', {
    required: ['headers'],
    variadic: 'headers',
    named: ['terminate', 'signal'],
    usage: '[key1=value1 [key2=value2 [... [keyN=valueN]]]]',
  }),
  shutdown: control('Stop workers, warmly.', { named: ['msg'] }),
  terminate: control('Revoke tasks and end those that run.', {
    required: ['signal', 'task_id'],
    positional: [['signal', 'text']],
    variadic: 'task_id',
    usage: '<signal> [id1 [id2 [... [idN]]]]',
  }),
  time_limit: control('Change the time limits of tasks of a name.', {
    positional: [
      ['task_name', 'text'],
      ['soft', 'number'],
      ['hard', 'number'],
    ],
    usage: '<task_name> <soft_secs> [hard_secs]',
  }),
};

/** The command's own name; an alias gives the name it stands for, an unknown name undefined. */
export function findCommand(name: string): string | undefined {
  if (Object.hasOwn(CONTROL_COMMANDS, name)) return name;
  return ALIASES.get(name);
}

const ALIASES: ReadonlyMap<string, string> = new Map(
  Object.entries(CONTROL_COMMANDS).flatMap(([name, { alias }]) => (alias === undefined ? [] : [[alias, name]])),
);
