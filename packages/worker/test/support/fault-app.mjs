// Tasks that do everything wrong, and what must become of each. Children load this file, so it is plain JavaScript.
import { closeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Lovage } from '@lovage/core';

export const app = new Lovage('faults', {
  broker: process.env.FAULTS_BROKER ?? 'memory://',
  backend: process.env.FAULTS_BACKEND ?? 'cache+memory://',
  taskDefaultQueue: process.env.FAULTS_QUEUE ?? 'celery',
  resolveFrom: process.env.FAULTS_RESOLVE_FROM ?? import.meta.url,
});

const CHILDREN = ['processes', 'threads'];
const EVERYWHERE = [...CHILDREN, 'async'];

/** `{ name, pools, state, type, result, json }`: `type` is the exception's; `json`: what differs where results are JSON. */
export const FAULTS = [];

function fault(name, fn, { pools = EVERYWHERE, options = {}, state = 'FAILURE', type, result, json = {} }) {
  app.task(name, options, fn);
  FAULTS.push({ name, pools, state, type, result, json });
}

// Thrown values that are no errors, or are errors that bite.
const hostile = new Proxy(
  {},
  {
    get() {
      throw new Error('get');
    },
    getPrototypeOf() {
      throw new Error('getPrototypeOf');
    },
  },
);
const trap = () => {
  throw new Error('trap');
};
const thrown = {
  undefined,
  null: null,
  'a number': 0,
  'empty text': '',
  text: 'broken',
  'a symbol': Symbol('s'),
  'a bigint': 10n,
  'a function': () => {},
  'a proxy that throws': hostile,
  'a frozen object': Object.freeze({ a: 1 }),
  'an object whose toString throws': { toString: trap },
  'an array': [1, 2],
  'a promise': Promise.resolve(1),
};
for (const [kind, value] of Object.entries(thrown)) {
  const name = `throws.${kind.replaceAll(' ', '-')}`;
  fault(
    name,
    () => {
      throw value;
    },
    { type: 'Exception' },
  );
}
fault(
  'throws.an-error-whose-message-throws',
  () => {
    throw Object.defineProperty(new Error('x'), 'message', { get: trap });
  },
  { type: 'Error' },
);
fault(
  'throws.its-own-error',
  () => {
    class CardDeclined extends Error {}
    throw new CardDeclined('no money');
  },
  { type: 'CardDeclined' },
);

// Results that are hard to write down.
const circle = {};
circle.self = circle;
const forever = () => {
  for (;;);
};
const refused = { state: 'FAILURE', type: 'EncodeError' };
const done = (result) => ({ state: 'SUCCESS', result });
const results = {
  'a-bigint': [() => 10n, done(10)],
  'a-circle': [() => circle, refused],
  'a-function': [() => ({ f() {} }), refused],
  'a-symbol': [() => ({ s: Symbol('s') }), refused],
  // Pickled rows hold them, JSON does not.
  'a-map': [() => new Map([[1, 2]]), { state: 'SUCCESS', json: refused }],
  'a-set': [() => new Set([1]), { state: 'SUCCESS', json: refused }],
  bytes: [() => Buffer.from('bytes'), { state: 'SUCCESS' }],
  'a-date': [() => new Date(0), { state: 'SUCCESS' }],
  nan: [() => Number.NaN, { state: 'SUCCESS' }],
  undefined: [() => undefined, done(null)],
  'fifty-megabytes': [() => 'x'.repeat(50_000_000), { state: 'SUCCESS' }],
  'a-toJSON-that-throws': [() => ({ toJSON: trap }), { state: 'FAILURE' }],
  'a-getter-that-never-ends': [
    () => Object.defineProperty({}, 'value', { enumerable: true, get: forever }),
    { type: 'TimeLimitExceeded', pools: CHILDREN, options: { timeLimit: 0.5 } },
  ],
};
for (const [kind, [fn, expected]] of Object.entries(results)) fault(`returns.${kind}`, fn, expected);

// Tasks that do not end.
const limit = (pools) => ({ pools, options: { timeLimit: 0.5 }, type: 'TimeLimitExceeded' });
fault(
  'hangs.loop',
  () => {
    for (;;);
  },
  limit(CHILDREN),
);
fault(
  'hangs.microtasks',
  async () => {
    for (;;) await Promise.resolve();
  },
  limit(CHILDREN),
);
fault('hangs.pattern', () => /^(a+)+$/.test(`${'a'.repeat(40)}b`), limit(CHILDREN));
fault('hangs.never-settles', () => new Promise(() => {}), limit(EVERYWHERE));
fault(
  'hangs.until-the-soft-limit',
  ({ signal }) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
  { options: { bind: true, softTimeLimit: 0.2 }, type: 'SoftTimeLimitExceeded' },
);
fault(
  'hangs.and-cleans-up',
  async (task) => {
    try {
      await sleep(60_000, undefined, { signal: task.signal });
    } catch {
      return 'cleaned up';
    }
  },
  { options: { bind: true, softTimeLimit: 0.2 }, ...done('cleaned up') },
);

// Tasks that take their child with them.
const lost = { pools: CHILDREN, type: 'WorkerLostError' };
const lostProcess = { ...lost, pools: ['processes'] };
const wait = () => sleep(60_000);
fault('dies.exit-0', () => process.exit(0), lost);
fault('dies.exit-1', () => process.exit(1), lost);
fault(
  'dies.exit-while-waiting',
  () => {
    setTimeout(() => process.exit(0), 20);
    return wait();
  },
  lost,
);
fault('dies.abort', () => process.abort(), lostProcess);
fault('dies.segfault', () => (process.kill(process.pid, 'SIGSEGV'), wait()), lostProcess);
fault('dies.killed', () => (process.kill(process.pid, 'SIGKILL'), wait()), lostProcess);
fault(
  'dies.out-of-memory',
  () => {
    const all = [];
    for (;;) all.push(Array.from({ length: 1_000_000 }).fill(all));
  },
  lost,
);
fault(
  'dies.after-its-end',
  () => {
    setImmediate(() => process.exit(0));
    return 'done';
  },
  { pools: CHILDREN, ...done('done') },
);

// Errors that nobody waits for.
fault(
  'forgets.a-promise',
  () => {
    void Promise.reject(new RangeError('forgotten'));
    return wait();
  },
  { type: 'RangeError' },
);
fault(
  'forgets.a-timer',
  () => {
    setTimeout(() => {
      throw new RangeError('from a timer');
    }, 10);
    return wait();
  },
  { type: 'RangeError' },
);
fault(
  'forgets.and-has-ended',
  () => {
    setTimeout(() => void Promise.reject(new RangeError('too late')), 30);
    return 'done';
  },
  done('done'),
);

// Tasks that leave a mess.
fault('leaves.a-closed-stdout', () => (closeSync(1), 'closed'), { pools: ['processes'], ...done('closed') });
fault(
  'leaves.timers-and-listeners',
  () => {
    for (let n = 0; n < 100; n++) process.on(`leak-${n}`, () => {});
    setInterval(() => {}, 1000).unref();
    return 'leaked';
  },
  done('leaked'),
);

app.task('echo', (value) => value);
app.task('nests', async () => (await app.tasks.get('echo').delay(1)).id);
