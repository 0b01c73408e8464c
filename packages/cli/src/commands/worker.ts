import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isLovageError, settingsWithoutEffect, type Logger, type Lovage } from '@lovage/core';
import type { Beat } from '@lovage/beat';
import { importInstalled } from '@lovage/core/transport';
import { HealthServer, Worker, type StopKind } from '@lovage/worker';
import { Command, Option } from 'commander';
import { ignoreClosedPipes } from '../closed-pipes.ts';
import { globalOptions, openApp, projectOf, type GlobalOptions } from '../context.ts';
import { addDaemonOptions, daemonize, type DaemonOptions, reportStarted } from '../daemon.ts';
import { CommandError, EXIT } from '../exit-codes.ts';
import { loadScheduler } from '../load-scheduler.ts';
import { LOG_LEVELS } from '../logging.ts';
import { expandFileName, expandNodeName } from '../node-name.ts';
import { count, countOrNone, port, seconds, secondsAbove0 } from '../option-values.ts';
import { overrideSetting } from '../override-setting.ts';
import { takePidfile } from '../pidfile.ts';
import { logLevel, setUpLogging } from '../set-up-logging.ts';
import { list, purgeQueues } from './purge.ts';

interface WorkerCommandOptions extends DaemonOptions {
  readonly hostname?: string;
  readonly loglevel: string;
  readonly logfile?: string;
  readonly pidfile?: string;
  readonly concurrency?: number;
  readonly pool?: string;
  readonly prefetchMultiplier?: number;
  readonly queues?: readonly string[];
  readonly excludeQueues?: readonly string[];
  readonly include?: readonly string[];
  readonly purge?: boolean;
  readonly timeLimit?: number;
  readonly softTimeLimit?: number;
  readonly taskEvents: boolean;
  readonly events?: boolean;
  readonly withoutGossip?: boolean;
  readonly withoutMingle?: boolean;
  readonly withoutHeartbeat?: boolean;
  readonly heartbeatInterval?: number;
  readonly beat?: boolean;
  readonly schedule?: string;
  readonly scheduleFilename?: string;
  readonly scheduler?: string;
  readonly stopWithParent?: boolean;
  readonly disablePrefetch?: boolean;
  readonly healthPort?: number;
  readonly metricsPort?: number;
  readonly autoscale?: { readonly max: number; readonly min: number };
  readonly maxTasksPerChild?: number;
  readonly maxMemoryPerChild?: number;
  readonly statedb?: string;
}

/** `lovage worker`: takes tasks and runs them until a signal says stop. */
export function workerCommand(): Command {
  const command = new Command('worker')
    .description('Run a worker: take tasks from the broker, run them, store their results')
    .argument('[settings...]', 'settings over all others, NAME=VALUE: worker.prefetch_multiplier=10')
    .option('-n, --hostname <name>', 'node name; %h host, %n name of the host, %d its domain (default: celery@%h)')
    .addOption(new Option('-l, --loglevel <level>', `${LOG_LEVELS.join(', ')}`).default('warning').argParser(logLevel))
    .option('-f, --logfile <file>', 'write the log to this file')
    .option('--pidfile <file>', 'write the process id to this file; refuse to start when its process runs')
    .option('-c, --concurrency <n>', 'tasks that run at once (default: 100 for async, else the number of CPUs)', count)
    .option('-P, --pool <name>', 'async (also gevent, eventlet), threads, processes (also prefork) or solo')
    .option('--autoscale <max,min>', 'let the pool grow and shrink with the work between these sizes', range)
    .option('-S, --statedb <file>', 'keep what is revoked in this file over restarts; %n, %h, %d as in --hostname')
    .option('--max-tasks-per-child <n>', 'replace a thread or process after so many tasks', count)
    .option('--max-memory-per-child <KiB>', 'replace a thread or process that holds more after a task', count)
    .option('--prefetch-multiplier <n>', 'messages fetched ahead for each slot', countOrNone)
    .option('--disable-prefetch', 'fetch a message only when a task can start')
    .option('-Q, --queues <names>', 'consume from these, separated by commas', list)
    .option('-X, --exclude-queues <names>', 'consume from all but these', list)
    .option('-I, --include <modules>', 'more modules of tasks to load', list)
    .option('--discard, --purge', 'drop all waiting messages first')
    .option('--time-limit <seconds>', 'hard limit for tasks that have none', secondsAbove0)
    .option('--soft-time-limit <seconds>', 'soft limit for tasks that have none', secondsAbove0)
    .option('-E, --task-events', 'send task events, for monitors', false)
    .addOption(new Option('--events', 'the same').hideHelp())
    .option('--without-gossip', 'do not listen to other workers')
    .option('--without-mingle', 'do not ask other workers at the start')
    .option('--without-heartbeat', 'send no heartbeat events')
    .option('-B, --beat', 'run a beat in this process too, for periodic tasks')
    .option('-s, --schedule <place>', 'of -B: a path or the URL of a store (default: beatScheduleFilename)')
    .option('--scheduler <module>', 'of -B: its default export gives periodic tasks, as for beat')
    .addOption(new Option('--schedule-filename <place>', 'the same').hideHelp())
    .addOption(new Option('--stop-with-parent', 'stop when the process that has started this one is gone').hideHelp())
    .option('--health-port <port>', 'answer probes over HTTP: /livez and /readyz', port)
    .option('--metrics-port <port>', 'serve Prometheus metrics over HTTP; needs @lovage/prometheus', port)
    .option('--heartbeat-interval <seconds>', 'between heartbeat events (default: 2)', seconds)
    .addHelpText(
      'after',
      `
Examples:
  lovage -A ./tasks worker -l info
  lovage -A ./tasks.ts:app worker -c 50 -Q mail,images -n mail@%h
  lovage -A ./tasks worker -P processes --autoscale=8,2 --max-tasks-per-child 1000
  lovage -A ./tasks worker -l info -- worker.prefetch_multiplier=10 task.acks_late=false

Signals: TERM finishes running tasks within workerShutdownTimeout and ends with 0; INT does the same, a second one
stops at once, a third one kills; QUIT (or TERM with REMAP_SIGTERM=SIGQUIT) stops at once. What has not run goes back
to the broker.`,
    )
    .action(run);
  addDaemonOptions(command, '-D, --detach');
  // Celery's switch for what is always so here: scripts may keep it.
  command.addOption(
    new Option('-O, --optimization <profile>', 'fair is the only one').choices(['fair', 'default']).hideHelp(),
  );
  return command;
}

async function run(given: readonly string[], options: WorkerCommandOptions, command: Command): Promise<void> {
  const globals = globalOptions(command);
  // Over what the app says, before it is read; children read them too.
  if (given.length > 0) {
    const { applyCommandLineSettings } = await import('../command-line-settings.ts');
    applyCommandLineSettings(given, 'worker');
  }
  const nodeName = expandNodeName(options.hostname);
  const logfile = options.logfile === undefined ? undefined : expandFileName(options.logfile, nodeName);
  if (await daemonize(options, logfile, globals.workdir)) return;
  ignoreClosedPipes();
  if (options.timeLimit !== undefined) overrideSetting('taskTimeLimit', String(options.timeLimit));
  if (options.softTimeLimit !== undefined) overrideSetting('taskSoftTimeLimit', String(options.softTimeLimit));
  if (options.disablePrefetch === true) overrideSetting('workerDisablePrefetch', 'true');
  const app = await openApp(globals, { needsTasks: true, ...(options.include && { include: options.include }) });
  let worker: Worker | undefined;
  try {
    await work(app, options, globals, (started) => {
      worker = started;
    });
  } finally {
    // A broker that answers nothing must not keep the process: what is left of the worker's time, and no more.
    const leftMs = Math.min(CLOSE_MS, (worker?.stopsBy ?? Number.POSITIVE_INFINITY) - performance.now() - RESERVE_MS);
    await Promise.race([app.close(), sleep(Math.max(EXIT_MS, leftMs), undefined, { ref: false })]);
    setTimeout(() => process.exit(), EXIT_MS).unref();
  }
}

/** How long the app may take to flush what tasks have sent. */
const CLOSE_MS = 5000;
/** From the end of the command to that of the process, where sockets still hold it. */
const EXIT_MS = 50;
/** For the end of the process itself, on a machine that is busy with others. */
const RESERVE_MS = 450;

async function work(
  app: Lovage,
  options: WorkerCommandOptions,
  globals: GlobalOptions,
  onWorker: (worker: Worker) => void,
): Promise<void> {
  await app.loadTransports();
  const nodeName = expandNodeName(options.hostname);
  const file = options.logfile ?? app.settings.workerLogfile;
  const logfile = file === undefined ? undefined : expandFileName(file, nodeName);
  const logger = setUpLogging(app, { level: options.loglevel, logfile }, globals);
  const idle = settingsWithoutEffect(app.settings);
  if (idle.length > 0) logger.warn({ settings: idle.join(', ') }, 'these settings are known and have no effect here');
  if (options.purge === true) {
    const names = app.queues.select(selection(options)).map(({ name }) => name);
    const dropped = await purgeQueues(app, names);
    logger.info({ dropped: Object.values(dropped).reduce((sum, count) => sum + count, 0) }, 'queues emptied');
  }
  const worker = new Worker(app, {
    logger,
    nodeName,
    ...(options.queues && { queues: options.queues }),
    ...(options.excludeQueues && { excludeQueues: options.excludeQueues }),
    ...(options.concurrency !== undefined && { concurrency: options.concurrency }),
    ...(options.prefetchMultiplier !== undefined && { prefetchMultiplier: options.prefetchMultiplier }),
    ...(options.pool !== undefined && { pool: options.pool }),
    ...((options.taskEvents || options.events === true) && { taskEvents: true }),
    gossip: options.withoutGossip !== true,
    mingle: options.withoutMingle !== true,
    ...(options.withoutHeartbeat === true
      ? { heartbeatInterval: 0 }
      : options.heartbeatInterval !== undefined && { heartbeatInterval: options.heartbeatInterval }),
    ...(options.statedb !== undefined && { stateDb: expandFileName(options.statedb, nodeName) }),
    ...(options.autoscale && { autoscale: options.autoscale }),
    ...(options.maxTasksPerChild !== undefined && { maxTasksPerChild: options.maxTasksPerChild }),
    ...(options.maxMemoryPerChild !== undefined && { maxMemoryPerChild: options.maxMemoryPerChild }),
    appModule: {
      module: new URL('../child-app.js', import.meta.url).href,
      export: 'loadChildApp',
      args: [projectOf(globals, options.include)],
    },
  });
  const pidfile = options.pidfile ?? app.settings.workerPidfile;
  let removePidfile: (() => void) | undefined;
  // Before the pidfile, which tells others whom to signal.
  const forget = stopOnSignals(worker, options.stopWithParent === true);
  const ports: { close(): Promise<void> }[] = [];
  onWorker(worker);
  let beat: Beat | undefined;
  try {
    if (pidfile !== undefined) removePidfile = takePidfile(resolve(expandFileName(pidfile, nodeName)));
    reportStarted();
    if (options.healthPort !== undefined) {
      const health = new HealthServer(worker);
      ports.push(health);
      const port = await listening('--health-port', health.listen({ port: options.healthPort }));
      logger.info({ port }, `probes are answered on port ${port}: /livez, /readyz`);
    }
    if (options.metricsPort !== undefined) ports.push(await serveMetrics(app, worker, options.metricsPort));
    const isReady = await ready(worker);
    if (options.beat === true && isReady) beat = await startBeat(app, logger, options);
    await worker.done;
  } finally {
    await beat?.stop();
    await Promise.all(ports.map((port) => port.close()));
    forget();
    removePidfile?.();
  }
}

/** False: a signal has stopped it before. `done` tells how that ends. */
async function ready(worker: Worker): Promise<boolean> {
  try {
    await worker.start();
    return true;
  } catch (error) {
    if (isLovageError(error, 'ERR_CLOSED')) return false;
    throw error;
  }
}

/** Loaded when it is asked for: most workers run none. */
async function startBeat(app: Lovage, logger: Logger, options: WorkerCommandOptions): Promise<Beat> {
  const { Beat } = await import('@lovage/beat');
  const schedule = options.schedule ?? options.scheduleFilename;
  const scheduler = await loadScheduler(app, options.scheduler);
  const beat = new Beat(app, {
    logger,
    isEmbedded: true,
    ...(schedule === undefined ? {} : { schedule }),
    ...(scheduler === undefined ? {} : { scheduler }),
  });
  await beat.start();
  beat.done.catch((error: unknown) => logger.error({ err: error }, 'beat: it cannot go on, the worker does'));
  return beat;
}

/** Celery takes them in either order. */
function range(text: string): { max: number; min: number } {
  const sizes = text.split(',').map((part) => countOrNone(part.trim()));
  if (sizes.length > 2) throw new CommandError(`"${text}" is no range. Expected --autoscale=max,min.`, EXIT.usage);
  return { max: Math.max(...sizes), min: sizes.length === 1 ? 0 : Math.min(...sizes) };
}

function selection({ queues, excludeQueues }: WorkerCommandOptions): Parameters<Lovage['queues']['select']>[0] {
  return { ...(queues && { queues }), ...(excludeQueues && { exclude: excludeQueues }) };
}

/** Celery's ladder. Source: celery/apps/worker.py, install_worker_*_handler. */
function stopOnSignals(worker: Worker, withParent: boolean): () => void {
  let interrupts = 0;
  const stop = (kind: StopKind): void => {
    // `done` tells how it ended; this promise says the same.
    worker.stop(kind).catch(() => undefined);
  };
  const handlers: Readonly<Partial<Record<NodeJS.Signals, () => void>>> = {
    SIGTERM: () => stop(process.env.REMAP_SIGTERM === 'SIGQUIT' ? 'soft' : 'warm'),
    SIGQUIT: () => stop('soft'),
    SIGINT: () => {
      interrupts++;
      if (interrupts === 1) stop('warm');
      else if (interrupts === 2) stop('cold');
      else process.exit(EXIT.failed);
    },
  };
  for (const [signal, handler] of Object.entries(handlers)) process.on(signal, handler);
  if (withParent) {
    // The channel tells of the parent's death; it alone keeps nobody alive.
    process.once('disconnect', () => stop('warm'));
    process.channel?.unref();
  }
  return () => {
    for (const [signal, handler] of Object.entries(handlers)) process.off(signal, handler);
  };
}

/** The part of `@lovage/prometheus` that the command uses: it is installed by those who want it. */
interface PrometheusPackage {
  readonly MetricsServer: new (options: {
    app: Lovage;
    worker: Worker;
    port: number;
  }) => {
    listen(): Promise<number>;
    close(): Promise<void>;
  };
}

async function serveMetrics(app: Lovage, worker: Worker, port: number): Promise<{ close(): Promise<void> }> {
  const found = await importInstalled('@lovage/prometheus', app.resolveFrom);
  if (found === undefined) {
    throw new CommandError('--metrics-port needs a package. Run "npm install @lovage/prometheus".', EXIT.config);
  }
  const { MetricsServer } = found as unknown as PrometheusPackage;
  const server = new MetricsServer({ app, worker, port });
  await listening('--metrics-port', server.listen());
  return server;
}

/** The port of a server that the command starts; a taken one ends it. */
async function listening(option: string, port: Promise<number>): Promise<number> {
  try {
    return await port;
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    throw new CommandError(`The port of ${option} cannot be used: ${message}`, EXIT.failed, { cause });
  }
}
