/** A signature in a language of its own, so that each side builds it with its own canvas. */
export interface Spec {
  /** `plus`, `sum`, `same`, `refuse`, `third_time` or `replace`; the test chooses in which language it runs. */
  readonly task?: string;
  readonly args?: readonly unknown[];
  readonly immutable?: boolean;
  readonly options?: Readonly<Record<string, unknown>>;
  readonly link?: readonly Spec[];
  readonly errback?: readonly Spec[];
  readonly chain?: readonly Spec[];
  readonly group?: readonly Spec[];
  readonly chord?: readonly Spec[];
  readonly body?: Spec;
  readonly map?: 'map' | 'starmap';
  readonly it?: readonly unknown[];
  /** How many argument lists a chunk has. */
  readonly chunks?: number;
}

export type Outcome = { readonly value: unknown } | { readonly error: string; readonly message: string };

export interface Shape {
  readonly name: string;
  readonly spec: Spec;
  /** The same for everybody. */
  readonly ends: Outcome;
  /** What becomes of callbacks and errbacks, by the `watch` that they are marked with. */
  readonly watched?: Readonly<Record<string, Outcome>>;
  /** A broker on which it cannot end, and why. */
  readonly notOn?: { readonly broker: string; readonly why: string };
  /** Where Celery alone does not come to that end, what it does instead; what takes part of Celery may do it too. */
  readonly celery?: string;
}

const plus = (...args: readonly unknown[]): Spec => ({ task: 'plus', args });
const sum: Spec = { task: 'sum' };
const same: Spec = { task: 'same' };
const refuse: Spec = { task: 'refuse' };
const note: Spec = { task: 'note' };
const third = (...args: readonly unknown[]): Spec => ({ task: 'third_time', args });
const replace = (...args: readonly unknown[]): Spec => ({ task: 'replace', args });
const chain = (...steps: readonly Spec[]): Spec => ({ chain: steps });
const group = (...members: readonly Spec[]): Spec => ({ group: members });
const chord = (header: readonly Spec[], body: Spec): Spec => ({ chord: header, body });
const later = (spec: Spec, seconds: number): Spec => ({ ...spec, options: { countdown: seconds } });
const watch = (spec: Spec, name: string): Spec => ({ ...spec, options: { ...spec.options, watch: name } });

const value = (result: unknown): Outcome => ({ value: result });
const NO: Outcome = { error: 'ValueError', message: 'no' };
const DEPENDENCY: Outcome = { error: 'ChordError', message: "Dependency ID raised ValueError('no')" };

export const SHAPES: readonly Shape[] = [
  { name: 'one task', spec: plus(1, 2), ends: value(3) },
  { name: 'chain of two', spec: chain(plus(1, 2), plus(3)), ends: value(6) },
  { name: 'chain of ten', spec: chain(plus(1, 1), ...Array.from({ length: 9 }, () => plus(1))), ends: value(11) },
  { name: 'chain in a chain', spec: chain(plus(1, 1), chain(plus(1), plus(1)), plus(1)), ends: value(5) },
  { name: 'immutable step', spec: chain(plus(1, 2), { ...plus(5, 5), immutable: true }, plus(1)), ends: value(11) },
  { name: 'group', spec: group(plus(1, 1), plus(2, 2), plus(3, 3)), ends: value([2, 4, 6]) },
  {
    name: 'group in a group',
    spec: group(plus(1, 1), group(plus(2, 2), plus(3, 3)), plus(4, 4)),
    ends: value([2, 4, 6, 8]),
  },
  {
    name: 'chains in a group',
    spec: group(chain(plus(1, 1), plus(1)), chain(plus(2, 2), plus(2))),
    ends: value([3, 6]),
  },
  { name: 'chain that ends in a group', spec: chain(plus(1, 1), group(plus(1), plus(2))), ends: value([3, 4]) },
  { name: 'group in the middle of a chain', spec: chain(plus(1, 1), group(plus(1), plus(2)), sum), ends: value(7) },
  { name: 'group that starts a chain', spec: chain(group(plus(1, 1), plus(2, 2)), sum, plus(1)), ends: value(7) },
  {
    name: 'two groups in a chain',
    spec: chain(plus(1, 1), group(plus(1), plus(2)), sum, group(plus(1), plus(2)), sum),
    ends: value(17),
  },
  { name: 'chord', spec: chord([plus(1, 1), plus(2, 2)], sum), ends: value(6) },
  {
    name: 'chord of ten, in order',
    spec: chord(
      Array.from({ length: 10 }, (_, n) => plus(n, 0)),
      same,
    ),
    ends: value([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
  },
  { name: 'chord with one part', spec: chord([plus(1, 1)], same), ends: value([2]) },
  { name: 'chord with an empty header', spec: chord([], sum), ends: value(0) },
  { name: 'chain in a header', spec: chord([chain(plus(1, 1), plus(1)), plus(2, 2)], same), ends: value([3, 4]) },
  {
    name: 'group in a header, reversed as in Celery',
    spec: chord([plus(1, 0), group(plus(2, 0), plus(3, 0)), plus(4, 0)], same),
    ends: value([1, 3, 2, 4]),
  },
  {
    name: 'chord in a header',
    spec: chord([chord([plus(1, 1), plus(2, 2)], sum), plus(3, 3)], same),
    ends: value([6, 6]),
  },
  { name: 'body that is a chain', spec: chord([plus(1, 1), plus(2, 2)], chain(sum, plus(1))), ends: value(7) },
  { name: 'body that is a group', spec: chord([plus(1, 1), plus(2, 2)], group(sum, same)), ends: value([6, [2, 4]]) },
  {
    name: 'body that is a chord',
    spec: chord([plus(1, 1), plus(2, 2)], chord([sum, sum], same)),
    ends: value([6, 6]),
  },
  {
    name: 'chord in the middle of a chain',
    spec: chain(plus(1, 1), chord([plus(1), plus(2)], sum), plus(1)),
    ends: value(8),
  },
  { name: 'chord that ends a chain', spec: chain(plus(1, 1), chord([plus(1), plus(2)], same)), ends: value([3, 4]) },
  {
    name: 'group of chords',
    spec: group(chord([plus(1, 1), plus(2, 2)], sum), chord([plus(3, 3)], same)),
    ends: value([6, [6]]),
  },
  {
    name: 'three levels: chain, group, chord',
    spec: chain(plus(1, 1), group(chain(plus(1), plus(1)), chord([plus(1), plus(2)], sum), plus(3)), same),
    ends: value([4, 7, 5]),
  },
  {
    name: 'three levels: chord, chord, chord',
    spec: chord([chord([chord([plus(1, 1), plus(2, 2)], sum), plus(3, 3)], sum), plus(1, 0)], same),
    ends: value([12, 1]),
  },
  {
    name: 'three levels: group, chain, group',
    spec: group(chain(plus(1, 1), group(plus(1), plus(2)), sum), chain(plus(5, 5), plus(1))),
    ends: value([7, 11]),
  },
  {
    name: 'immutable body',
    spec: chord([plus(1, 1), plus(2, 2)], { ...plus(9, 9), immutable: true }),
    ends: value(18),
  },
  { name: 'map', spec: { map: 'map', task: 'same', it: [1, 2, 3] }, ends: value([1, 2, 3]) },
  {
    name: 'starmap',
    spec: {
      map: 'starmap',
      task: 'plus',
      it: [
        [1, 2],
        [3, 4],
      ],
    },
    ends: value([3, 7]),
  },
  {
    name: 'chunks',
    spec: {
      chunks: 2,
      task: 'plus',
      it: [
        [1, 2],
        [3, 4],
        [5, 6],
      ],
    },
    ends: value([[3, 7], [11]]),
  },
  {
    name: 'map in a header',
    spec: chord([{ map: 'map', task: 'same', it: [1, 2] }, plus(1, 1)], same),
    ends: value([[1, 2], 2]),
  },
  {
    name: 'callback',
    spec: { ...plus(1, 1), link: [watch(plus(5), 'callback')] },
    ends: value(2),
    watched: { callback: value(7) },
  },
  {
    name: 'two callbacks',
    spec: { ...plus(1, 1), link: [watch(plus(5), 'first'), watch(plus(6), 'second')] },
    ends: value(2),
    watched: { first: value(7), second: value(8) },
  },
  {
    name: 'callback of a chain',
    spec: { ...chain(plus(1, 1), plus(1)), link: [watch(plus(5), 'callback')] },
    ends: value(3),
    watched: { callback: value(8) },
  },
  {
    name: 'callback of a chord',
    spec: { ...chord([plus(1, 1), plus(2, 2)], sum), link: [watch(plus(5), 'callback')] },
    ends: value(6),
    watched: { callback: value(11) },
  },
  {
    name: 'errback',
    spec: { ...refuse, errback: [watch(note, 'errback')] },
    ends: NO,
    watched: { errback: value('noted') },
  },
  { name: 'failure in a chain', spec: chain(plus(1, 1), refuse, plus(1)), ends: NO },
  {
    name: 'failure before a group in a chain',
    spec: chain(plus(1, 1), refuse, group(plus(1), plus(2)), sum),
    ends: NO,
  },
  { name: 'failure in a group', spec: group(plus(1, 1), refuse), ends: NO },
  {
    name: 'failure in a header, with an errback',
    spec: { ...chord([plus(1, 1), refuse], sum), errback: [watch(note, 'errback')] },
    ends: DEPENDENCY,
    watched: { errback: value('noted') },
  },
  {
    name: 'failure in a chain in a header',
    spec: chord([chain(plus(1, 1), refuse, plus(1)), plus(2, 2)], sum),
    ends: DEPENDENCY,
  },
  {
    name: 'failure in an inner header',
    spec: chord([chord([plus(1, 1), refuse], sum), plus(2, 2)], sum),
    ends: {
      error: 'ChordError',
      message: "Dependency ID raised ChordError('Dependency ID raised ValueError(\\'no\\')')",
    },
    celery: 'the outer chord waits for ever, and get() raises the error of the inner body',
  },
  { name: 'failure of a body', spec: chord([plus(1, 1), plus(2, 2)], refuse), ends: NO },
  {
    name: 'failure of a body that a step follows',
    spec: chain(chord([plus(1, 1), plus(2, 2)], refuse), plus(1)),
    ends: NO,
  },
  { name: 'retries in a chain', spec: chain(plus(1, 1), third(), plus(1)), ends: value(3) },
  { name: 'retries in a header', spec: chord([third(1), plus(2, 2)], same), ends: value([1, 4]) },
  { name: 'a body that is tried again', spec: chord([plus(1, 1), plus(2, 2)], third()), ends: value([2, 4]) },
  { name: 'ETA in a chain', spec: chain(plus(1, 1), later(plus(1), 0.3), plus(1)), ends: value(4) },
  {
    name: 'ETA in a header and a body',
    spec: chord([later(plus(1, 1), 0.3), plus(2, 2)], later(sum, 0.2)),
    ends: value(6),
  },
  { name: 'expires, in time', spec: chain(plus(1, 1), { ...plus(1), options: { expires: 60 } }), ends: value(3) },
  {
    name: 'expires, too late',
    spec: { ...plus(1, 1), options: { expires: '2020-01-01T00:00:00+00:00' } },
    ends: { error: 'TaskRevokedError', message: 'expired' },
    notOn: { broker: 'RabbitMQ and Redis', why: 'RabbitMQ drops the message when it expires' },
  },
  { name: 'replace by a task', spec: chain(plus(1, 1), replace('task'), plus(1)), ends: value(4) },
  { name: 'replace by a chain', spec: chain(plus(1, 1), replace('chain'), plus(1)), ends: value(14) },
  { name: 'replace by a group', spec: chain(plus(1, 1), replace('group'), same), ends: value([3, 4]) },
  { name: 'replace by a chord', spec: chain(plus(1, 1), replace('chord'), plus(1)), ends: value(8) },
  { name: 'replace in a header', spec: chord([replace(1, 'task'), replace(1, 'chain')], same), ends: value([2, 12]) },
];
