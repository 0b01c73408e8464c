import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { Lovage, chain, chord, group, type SomeSignature } from '../index.ts';
import { toSnakeCase } from '../app/option-names.ts';
import { readFields, writeFields } from './fields.ts';
import { chunksAsGroup, Plan } from './plan.ts';
import type { SignatureDict } from './signature-dict.ts';

/** Written by interop/python/capture_canvas.py: what Python's canvas sends. */
const golden = JSON.parse(readFileSync(new URL('golden/celery-5.6.3.test.json', import.meta.url), 'utf8')) as {
  readonly shapes: Record<
    string,
    { readonly signature: unknown; readonly sent: readonly Sent[]; readonly result: unknown }
  >;
};

type Sent = {
  readonly chord_size?: readonly [string, number];
  readonly save_group?: unknown;
  readonly headers?: unknown;
};

const app = new Lovage('golden', { broker: 'memory://' });
const task = (name: string) => app.task(name, (...args: number[]): number => args.length);
const [a, b, c, d, e] = ['a', 'b', 'c', 'd', 'e'].map(task) as [Task, Task, Task, Task, Task];
type Task = ReturnType<typeof task>;

// What a chord's body is given is no number: here only the wire is looked at.
const loose = { chain, chord, group } as unknown as {
  chain: (...steps: SomeSignature[]) => SomeSignature;
  chord: (header: readonly SomeSignature[] | SomeSignature, body: SomeSignature) => SomeSignature;
  group: (...members: SomeSignature[]) => SomeSignature;
};
const pipe = (...steps: SomeSignature[]): SomeSignature =>
  steps.reduce((first, next) => (first.pipe as (next: SomeSignature) => SomeSignature)(next));
const linked = (signature: SomeSignature): SomeSignature => signature.link(d.si()).linkError(e.s());
const stamped = (signature: SomeSignature): SomeSignature => signature.stamp({ tenant: 'x', tries: 1 });
const one = 1 as never;

const SHAPES: Record<string, () => SomeSignature> = {
  task: () => a.s(1, 2),
  'task with options': () => a.s(1).set({ queue: 'q', priority: 3, countdown: 0 }),
  'task with link and errback': () => linked(a.s(1)),
  'chain of two': () => loose.chain(a.s(1), b.s(2)),
  'chain of three': () => loose.chain(a.s(1), b.s(2), c.si(3)),
  'chain piped': () => pipe(a.s(1), b.s(), c.s()),
  'chain in chain': () => loose.chain(a.s(1), loose.chain(b.s(), c.s()), d.s()),
  'chain with link and errback': () => linked(loose.chain(a.s(1), b.s())),
  group: () => loose.group(a.s(1), b.s(2)),
  'group in group': () => loose.group(a.s(1), loose.group(b.s(2), c.s(3)), d.s(4)),
  'group with link and errback': () => linked(loose.group(a.s(1), b.s(2))),
  'chain in group': () => loose.group(loose.chain(a.s(1), b.s()), c.s(2)),
  'chain ends in group': () => loose.chain(a.s(1), loose.group(b.s(), c.s())),
  chord: () => loose.chord([a.s(1), b.s(2)], c.s()),
  'chord with options': () => loose.chord([a.s(1), b.s(2)], c.s().set({ queue: 'q' })),
  'chord with link and errback': () => linked(loose.chord([a.s(1), b.s(2)], c.s())),
  'chord of a group': () => loose.chord(loose.group(a.s(1), b.s(2)), c.s()),
  'chord without header': () => loose.chord([], c.s()),
  'chord with nested group': () =>
    loose.chord([a.s(1), loose.group(b.s(2), c.s(3)), loose.chain(d.s(4), e.s())], e.s()),
  'chord in chord header': () => loose.chord([loose.chord([a.s(1), b.s(2)], c.s()), d.s(3)], e.s()),
  'chord body is a chain': () => loose.chord([a.s(1), b.s(2)], loose.chain(c.s(), d.s())),
  'chord body is a group': () => loose.chord([a.s(1), b.s(2)], loose.group(c.s(), d.s())),
  'chord body is a chord': () => loose.chord([a.s(1), b.s(2)], loose.chord([c.s(), d.s()], e.s())),
  'chord header has a chain that ends in a group': () =>
    loose.chord([loose.chain(a.s(1), loose.group(b.s(), c.s()))], e.s()),
  'group piped becomes a chord': () => pipe(loose.group(a.s(1), b.s(2)), c.s()),
  'group in the middle of a chain': () => loose.chain(a.s(1), loose.group(b.s(), c.s()), d.s()),
  'two groups in a chain': () => loose.chain(a.s(1), loose.group(b.s(), c.s()), loose.group(d.s(), e.s()), a.s()),
  'group starts a chain': () => loose.chain(loose.group(a.s(1), b.s(2)), c.s(), d.s()),
  'chord piped': () => pipe(loose.chord([a.s(1), b.s(2)], c.s()), d.s()),
  'chord piped to a group': () => pipe(loose.chord([a.s(1), b.s(2)], c.s()), loose.group(d.s(), e.s())),
  'chord ends a chain': () => loose.chain(a.s(1), loose.chord([b.s(), c.s()], d.s())),
  'chord in the middle of a chain': () => loose.chain(a.s(1), loose.chord([b.s(), c.s()], d.s()), e.s()),
  'two chords in a chain': () => loose.chain(loose.chord([a.s(1), b.s(2)], c.s()), loose.chord([d.s(), e.s()], a.s())),
  'three levels': () =>
    loose.chain(
      a.s(1),
      loose.group(loose.chain(b.s(), c.s()), loose.chord([d.s(), e.s()], a.s()), b.s()),
      c.s(),
      loose.chord([d.s(), a.s()], e.s()),
    ),
  map: () => a.map([1, 2, 3]),
  starmap: () =>
    a.starmap([
      [1, 2],
      [3, 4],
    ]),
  chunks: () =>
    a.chunks(
      [
        [1, 2],
        [3, 4],
        [5, 6],
      ],
      2,
    ),
  'map in a chord': () => loose.chord([a.map([1, 2]), b.s(one)], c.s()),
  'stamped task': () => stamped(a.s(1)),
  'stamped chain': () => stamped(loose.chain(a.s(1), b.s())),
  'stamped group': () => stamped(loose.group(a.s(1), b.s(2))),
  'stamped chord': () => stamped(loose.chord([a.s(1), b.s(2)], c.s())),
  'stamped links': () => stamped(linked(a.s(1))),
};

/** The client attaches a chord's header to the first step of its body; Python forgets the steps between. */
const OTHER_RESULT = [
  'chord without header',
  'chord body is a chord',
  'chord body is a chain',
  'chord piped',
  'group starts a chain',
  'chord piped to a group',
];

const HEADERS = [
  'task',
  'id',
  'group',
  'groupIndex',
  'rootId',
  'parentId',
  'retries',
  'ignoreResult',
  'stampedHeaders',
  'stamps',
  'replacedTaskNesting',
] as const;

function planned(signature: SomeSignature): { signature: unknown; sent: unknown[]; sizes: unknown[]; result: unknown } {
  const plan = new Plan(app.oid, false);
  const result = plan.add(signature.task === 'celery.chunks' ? chunksAsGroup(signature) : signature);
  const sent = plan.calls.map((call) => {
    const draft = app.producer.draft(call.task, call.args, call.kwargs, call.options, app.tasks.get(call.task));
    const headers = Object.fromEntries(HEADERS.map((name) => [toSnakeCase(name), draft[name] ?? undefined]));
    const { callbacks = [], errbacks = [], chain: steps = [], chord: body } = draft;
    const embed = {
      ...(callbacks.length > 0 && { callbacks }),
      ...(errbacks.length > 0 && { errbacks }),
      ...(steps.length > 0 && { chain: steps }),
      ...(body && { chord: body }),
    };
    return { headers, args: draft.args, kwargs: draft.kwargs, embed };
  });
  const sizes = plan.chords.map(({ groupId, size }) => [groupId, size]);
  return plain({ signature: signature.toJSON(), sent, sizes, result: app.resultOf(result).toTuple() }) as never;
}

const byText = (texts: readonly string[]): readonly string[] => texts.toSorted((x, y) => (x < y ? -1 : 1));

/** Through JSON, without what says nothing and without reply addresses. */
function plain(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (key, item: unknown) => {
      if (key === 'reply_to') return undefined;
      return key === 'stamped_headers' && Array.isArray(item) ? byText(item as string[]) : item;
    }),
  );
}

/** Ids as `#1`, `#2` ... in the order in which a walk by sorted names meets them. */
function named(value: unknown, names = new Map<string, string>()): unknown {
  if (typeof value === 'string' && /^#\d+$|^[\da-f]{8}-[\da-f-]{27}$/.test(value)) {
    if (!names.has(value)) names.set(value, `#${names.size + 1}`);
    return names.get(value);
  }
  if (Array.isArray(value)) return value.map((item) => named(item, names));
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).toSorted(([x], [y]) => (x < y ? -1 : 1));
  return Object.fromEntries(entries.map(([key, item]) => [key, named(item, names)]));
}

/** In which order the store is told of several chords does not matter. */
function comparable(value: object): unknown {
  const { sizes, ...rest } = named(value) as { sizes: readonly (readonly unknown[])[] };
  return { ...rest, sizes: byText(sizes.map((size) => size.join())) };
}

describe('what Python’s canvas sends', () => {
  test('every captured shape is built here too', () => {
    expect(byText(Object.keys(SHAPES))).toEqual(byText(Object.keys(golden.shapes)));
  });

  for (const [name, build] of Object.entries(SHAPES)) {
    const expected = golden.shapes[name];
    if (expected === undefined) continue;
    test(name, () => {
      const { signature, ...mine } = planned(build());
      expect(signature).toEqual(expected.signature);
      const python = {
        sent: expected.sent.filter(({ headers }) => headers !== undefined),
        sizes: expected.sent.flatMap(({ chord_size }) => (chord_size === undefined ? [] : [chord_size])),
        ...(OTHER_RESULT.includes(name) ? {} : { result: expected.result }),
      };
      const { result, sizes, ...rest } = mine;
      const typescript = { ...rest, sizes, ...(OTHER_RESULT.includes(name) ? {} : { result }) };
      expect(comparable(typescript)).toEqual(comparable(python));
    });

    test(`${name}, read and written`, () => {
      const dict = expected.signature as SignatureDict;
      expect(plain(writeFields(readFields(dict)))).toEqual(dict);
    });
  }
});
