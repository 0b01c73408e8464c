import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  chain,
  chord,
  group,
  isLovageError,
  Lovage,
  Signature,
  type AsyncResult,
  type SomeSignature,
  type TaskFailedError,
} from '@lovage/core';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { type Meeting, startPythonWorker, startTypescriptWorker } from './peers.ts';
import { PATIENCE_SECONDS, PythonProgram, type Running } from './processes.ts';
import { SHAPES, type Outcome, type Shape, type Spec } from './shapes.ts';

const folder = mkdtempSync(join(tmpdir(), 'lovage-canvas-'));
const { LOVAGE_TEST_REDIS_URL: redis, LOVAGE_TEST_AMQP_URL: amqp, LOVAGE_TEST_PYTHON: python } = process.env;
const sqlite = join(folder, 'canvas.db');

const MEETINGS = [
  { name: 'Redis', broker: redis, backend: redis },
  { name: 'RabbitMQ and Redis', broker: amqp, backend: redis },
  { name: 'SQLite', broker: `sqla+sqlite:///${sqlite}`, backend: `db+sqlite:///${sqlite}` },
];

/** Who sends, and in which languages the tasks run; in a mixed one they take turns. */
const WAYS = [
  { name: 'Celery alone', sender: 'py', languages: ['py'] },
  { name: 'Lovage alone', sender: 'ts', languages: ['ts'] },
  { name: 'mixed, Python sends', sender: 'py', languages: ['py', 'ts'] },
  { name: 'mixed, TypeScript sends', sender: 'ts', languages: ['ts', 'py'] },
] as const;
type Way = (typeof WAYS)[number];

/** For what ends by itself. */
const WAIT_SECONDS = 150;
/** When nothing has ended for so long, what is left waits for something that failed. */
const QUIET_SECONDS = 15;
const cells: { shape: string; meeting: string; way: string; outcome: string }[] = [];

for (const meeting of MEETINGS) {
  const missing = [python, meeting.broker].some((value) => !value?.includes('/'));
  describe.skipIf(missing)(meeting.name, () => {
    const queues = { py: `python-${randomUUID().slice(0, 8)}`, ts: `typescript-${randomUUID().slice(0, 8)}` };
    const where: Meeting = {
      broker: meeting.broker as string,
      backend: meeting.backend as string,
      python: python as string,
      pythonQueue: queues.py,
      typescriptQueue: queues.ts,
    };
    const workers: Running[] = [];
    const { broker, backend } = where;
    const app = new Lovage('canvas-client', { broker, backend, taskDefaultQueue: queues.ts });
    let found: ReadonlyMap<string, Outcome>;
    const watched = new Map<string, string>();

    beforeAll(async () => {
      // Celery's permission to wait inside of a task belongs to the process: threads that join chords take it from each other.
      workers.push(await startPythonWorker(where, ['-P', 'prefork', '-c', '2']), await startTypescriptWorker(where));
      const peer = new Peer(where);
      try {
        const shapes = SHAPES.filter(({ notOn }) => notOn?.broker !== meeting.name);
        found = await runAll(shapes, app, peer, queues, watched);
      } finally {
        await peer.close();
      }
    }, 600_000);

    afterAll(async () => {
      await Promise.all([app.close(), ...workers.map((worker) => worker.stop())]);
    });

    for (const shape of SHAPES) {
      if (shape.notOn?.broker === meeting.name) continue;
      it(shape.name, () => {
        const failures: string[] = [];
        for (const way of WAYS) {
          const outcome = described(found.get(keyOf(shape, way)));
          const expected = described(shape.ends);
          const seen = [outcome];
          for (const [name, ends] of Object.entries(shape.watched ?? {})) {
            const id = watched.get(`${keyOf(shape, way)}/${name}`) as string;
            const own = described(found.get(id));
            if (own !== described(ends)) seen.push(`${name}: ${own}`);
          }
          const isSame = outcome === expected && seen.length === 1;
          cells.push({
            shape: shape.name,
            meeting: meeting.name,
            way: way.name,
            outcome: isSame ? 'same' : seen.join('; '),
          });
          const isCelerys = shape.celery !== undefined && way.name !== 'Lovage alone';
          if (!isSame && !isCelerys) failures.push(`${way.name}: ${seen.join('; ')}`);
        }
        assert.deepEqual(failures, [], `expected ${described(shape.ends)}`);
      });
    }
  });
}

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
  const results = new URL('../.results/', import.meta.url);
  mkdirSync(results, { recursive: true });
  const shapes = SHAPES.map(({ name, ends, celery, notOn }) => ({ name, ends: described(ends), celery, notOn }));
  writeFileSync(
    new URL('canvas.json', results),
    JSON.stringify({ shapes, ways: WAYS.map(({ name }) => name), cells }, null, 2),
  );
});

const keyOf = (shape: Shape, way: Way): string => `${shape.name}, ${way.name}`;

function described(outcome: Outcome | undefined): string {
  if (outcome === undefined) return 'nothing';
  if ('value' in outcome) return JSON.stringify(outcome.value);
  // Which part it was is said by some of Celery's stores only.
  return `${outcome.error}: ${outcome.message.replaceAll('Dependency ID raised ', '')}`;
}

/** All shapes in all ways at the same time. */
async function runAll(
  shapes: readonly Shape[],
  app: Lovage,
  peer: Peer,
  queues: Readonly<Record<'py' | 'ts', string>>,
  watched: Map<string, string>,
): Promise<ReadonlyMap<string, Outcome>> {
  const forPython: Record<string, Spec> = {};
  const forTypescript: [string, Spec][] = [];
  for (const shape of shapes) {
    for (const way of WAYS) {
      const key = keyOf(shape, way);
      const spec = assigned(shape.spec, way, queues, (name, id) => watched.set(`${key}/${name}`, id));
      if (way.sender === 'py') forPython[key] = spec;
      else forTypescript.push([key, spec]);
    }
  }
  await peer.ask({ do: 'send', shapes: forPython });
  const results = await Promise.all(
    forTypescript.map(async ([key, spec]) => [key, (await build(app, spec).delay()) as AsyncResult] as const),
  );
  const others = [...watched.values()].map((id) => [id, app.asyncResult(id)] as const);
  const [fromPython, fromTypescript] = await Promise.all([
    peer.ask({ do: 'outcomes', timeout: WAIT_SECONDS, quiet: QUIET_SECONDS }),
    outcomesOf([...results, ...others]),
  ]);
  return new Map<string, Outcome>([...Object.entries(fromPython as Record<string, Outcome>), ...fromTypescript]);
}

/** How each ended by itself; of what does not, once nothing else ends any more, what its client is told. */
async function outcomesOf(results: readonly (readonly [string, AsyncResult])[]): Promise<[string, Outcome][]> {
  const quiet = new AbortController();
  setMaxListeners(0, quiet.signal);
  let since = Number.POSITIVE_INFINITY;
  const watching = setInterval(() => {
    if (performance.now() - since > QUIET_SECONDS * 1000) quiet.abort();
  }, 100);
  try {
    return await Promise.all(
      results.map(async ([key, result]): Promise<[string, Outcome]> => {
        const own = await outcomeOf(result.join({ timeout: WAIT_SECONDS, signal: quiet.signal }), quiet.signal);
        if (own !== undefined) since = performance.now();
        return [key, own ?? ((await outcomeOf(result.get({ timeout: PATIENCE_SECONDS }))) as Outcome)];
      }),
    );
  } finally {
    clearInterval(watching);
  }
}

/** Undefined: the waiting ended before. */
async function outcomeOf(end: Promise<unknown>, waiting?: AbortSignal): Promise<Outcome | undefined> {
  try {
    return { value: await end };
  } catch (error) {
    if (error === waiting?.reason) return undefined;
    if (isLovageError(error, 'ERR_TIMEOUT')) return { error: 'never ended', message: '' };
    if (!isLovageError(error, 'ERR_TASK_FAILED')) throw error;
    const { excType, excMessage } = error as TaskFailedError;
    const message = (Array.isArray(excMessage) ? excMessage : [excMessage]).join(', ');
    return { error: excType, message: message.replaceAll(/[\da-f-]{36}/g, 'ID') };
  }
}

/** With a language and a queue for each task, in turn, and an id for what is watched. */
function assigned(
  spec: Spec,
  way: Way,
  queues: Readonly<Record<'py' | 'ts', string>>,
  onWatched: (name: string, id: string) => void,
): Spec {
  let turn = 0;
  const assign = (one: Spec): Spec => {
    const parts = (list: readonly Spec[] | undefined): readonly Spec[] | undefined => list?.map(assign);
    const { watch, ...options } = one.options ?? {};
    const id = watch === undefined ? undefined : randomUUID();
    if (id !== undefined) onWatched(watch as string, id);
    // What comes to a group of its own goes where its sender sends by default.
    const language = one.chunks === undefined ? way.languages[turn % way.languages.length] : way.sender;
    const isTask = one.task !== undefined;
    if (isTask) turn++;
    return JSON.parse(
      JSON.stringify({
        ...one,
        ...(isTask && { task: `${language}.${one.task}` }),
        options: {
          ...options,
          ...(isTask && one.chunks === undefined && { queue: queues[language as 'py' | 'ts'] }),
          ...(id !== undefined && { task_id: id }),
        },
        chain: parts(one.chain),
        group: parts(one.group),
        chord: parts(one.chord),
        body: one.body === undefined ? undefined : assign(one.body),
        link: parts(one.link),
        errback: parts(one.errback),
      }),
    ) as Spec;
  };
  return assign(spec);
}

function build(app: Lovage, spec: Spec): SomeSignature {
  // What the specs say is typed nowhere; the types of the canvas have a test of their own.
  const canvas = { chain, chord, group } as unknown as {
    chain: (...steps: SomeSignature[]) => SomeSignature;
    chord: (header: readonly SomeSignature[], body: SomeSignature) => SomeSignature;
    group: (members: readonly SomeSignature[]) => SomeSignature;
  };
  const parts = (list: readonly Spec[]): SomeSignature[] => list.map((part) => build(app, part));
  let signature: SomeSignature;
  if (spec.chain) signature = canvas.chain(...parts(spec.chain));
  else if (spec.group) signature = canvas.group(parts(spec.group));
  else if (spec.chord) signature = canvas.chord(parts(spec.chord), build(app, spec.body as Spec));
  else {
    const name = spec.task as string;
    const own = { args: spec.args ?? [], kwargs: {}, options: {}, immutable: spec.immutable ?? false };
    const task = { task: name, args: [], kwargs: {}, options: {}, subtask_type: null, immutable: false };
    const mapped = { args: [], options: {}, immutable: true };
    if (spec.chunks) {
      const kwargs = { task, it: spec.it, n: spec.chunks };
      signature = new Signature(app, { ...mapped, task: 'celery.chunks', kwargs });
    } else if (spec.map) {
      signature = new Signature(app, { ...mapped, task: `celery.${spec.map}`, kwargs: { task, it: spec.it } });
    } else signature = new Signature(app, { ...own, task: name });
  }
  const { task_id: taskId, ...options } = spec.options ?? {};
  signature = signature.set({ ...options, ...(taskId !== undefined && { taskId: taskId as string }) });
  for (const callback of spec.link ?? []) signature = signature.link(build(app, callback));
  for (const errback of spec.errback ?? []) signature = signature.linkError(build(app, errback));
  return signature;
}

/** A Python program that builds the same shapes with Celery's canvas. */
class Peer {
  readonly #program: PythonProgram;

  constructor({ broker, backend, pythonQueue, python: interpreter }: Meeting) {
    const env = { ...process.env, BROKER: broker, BACKEND: backend, QUEUE: pythonQueue };
    this.#program = new PythonProgram(interpreter, 'canvas_client.py', env);
  }

  async ask(command: object): Promise<Record<string, unknown>> {
    const value = (await this.#program.ask(command)) as Record<string, unknown>;
    if (typeof value['failure'] === 'string') throw new Error(`Python: ${value['failure']}`);
    return value;
  }

  close(): Promise<void> {
    return this.#program.close();
  }
}
