import { AssertionError } from 'node:assert';

/**
 * A function that registers one test: `test` of vitest, of node:test or of anything alike. The third argument is the
 * time after which the runner may give up; the kit itself ends earlier, with a message that says what was waited for.
 *
 * A test that cannot run calls `skip(reason)` of the context that the runner passes; where there is none, the reason is
 * printed as a warning.
 */
export type TestFunction = (name: string, run: (...context: unknown[]) => Promise<void>, timeoutMs: number) => unknown;

/** Ends a test as skipped, with the reason that is reported. */
export class SkipTest extends Error {
  static {
    SkipTest.prototype.name = 'SkipTest';
  }
}

/** The time that one test has, and what it waits for at the moment. */
export class Deadline {
  /** Rejects when the time is over. */
  readonly passed: Promise<never>;
  readonly ms: number;
  readonly #waits = new Set<string>();
  #timer: NodeJS.Timeout | undefined;

  constructor(ms: number) {
    this.ms = ms;
    this.passed = new Promise((_, reject) => {
      this.#timer = setTimeout(() => reject(new AssertionError({ message: this.#message() })), ms);
    });
    this.passed.catch(() => {});
  }

  /** Waits for the promise or for the end of the time; `what` is in the error then. */
  async of<T>(promise: Promise<T>, what: string): Promise<T> {
    this.#waits.add(what);
    try {
      return await Promise.race([promise, this.passed]);
    } finally {
      this.#waits.delete(what);
    }
  }

  /** Asks again until `check` gives something else than undefined or false. */
  async until<T>(what: string, check: () => Promise<T | undefined | false> | T | undefined | false): Promise<T> {
    let over = false;
    const ask = async (): Promise<T> => {
      for (let pauseMs = 1; ; pauseMs = Math.min(pauseMs * 2, 50)) {
        const answer = await check();
        if (answer !== undefined && answer !== false) return answer;
        if (over) throw new AssertionError({ message: this.#message() });
        await new Promise((resolve) => setTimeout(resolve, pauseMs));
      }
    };
    try {
      return await this.of(ask(), what);
    } finally {
      over = true;
    }
  }

  end(): void {
    clearTimeout(this.#timer);
  }

  #message(): string {
    const waits = [...this.#waits].map((wait) => `"${wait}"`).join(', ');
    return `${this.ms} ms passed while waiting for ${waits === '' ? 'a call that does not end' : waits}.`;
  }
}

/** What lives as long as one test: `end` closes and removes all that the test opened. */
export interface Trial {
  readonly deadline: Deadline;
  end(): Promise<void>;
}

export interface TrialTest<T extends Trial> {
  /** `settle: acking twice is ignored`: the file, then the promise. */
  readonly name: string;
  readonly run: (trial: T) => Promise<void>;
  /** So many deadlines of the suite, for what takes its time by nature. Default 1. */
  readonly patience?: number;
}

/** How long closing and removing after a test may take beyond its deadline. */
const END_MS = 30_000;

/** How one test ended. */
export interface TestOutcome {
  readonly test: string;
  readonly outcome: 'passed' | 'failed' | 'skipped';
  /** Why it was skipped. */
  readonly reason?: string;
}

export interface SuiteOptions<T extends Trial> {
  readonly test: TestFunction;
  readonly tests: readonly TrialTest<T>[];
  readonly skip: Readonly<Record<string, string>>;
  readonly deadlineMs: number;
  readonly start: (deadline: Deadline) => T;
  /** Told how each test ended. */
  readonly report?: (outcome: TestOutcome, trial: T | undefined) => void;
}

/** Registers every test. Each has a trial of its own. */
export function registerSuite<T extends Trial>(suite: SuiteOptions<T>): void {
  const names = new Set(suite.tests.map(({ name }) => name));
  for (const name of Object.keys(suite.skip)) {
    if (!names.has(name)) throw new TypeError(`"skip" names ${JSON.stringify(name)}, which is no test of this kit.`);
  }
  for (const test of suite.tests) {
    const deadlineMs = suite.deadlineMs * (test.patience ?? 1);
    suite.test(
      test.name,
      async (...context) => {
        const reason = await runTrial(suite, test, deadlineMs);
        if (reason !== undefined) reportSkip(context[0], test.name, reason);
      },
      deadlineMs + END_MS,
    );
  }
}

/** The reason why the test was skipped, or undefined when it passed. */
async function runTrial<T extends Trial>(
  suite: SuiteOptions<T>,
  test: TrialTest<T>,
  deadlineMs: number,
): Promise<string | undefined> {
  const { report = () => {} } = suite;
  if (Object.hasOwn(suite.skip, test.name)) {
    const reason = suite.skip[test.name] as string;
    report({ test: test.name, outcome: 'skipped', reason }, undefined);
    return reason;
  }
  const deadline = new Deadline(deadlineMs);
  const trial = suite.start(deadline);
  let skipped: string | undefined;
  try {
    await Promise.race([test.run(trial), deadline.passed]);
  } catch (error) {
    // The first failure is the one to report: what ending meets after it is most often its consequence.
    if (!(error instanceof SkipTest)) {
      report({ test: test.name, outcome: 'failed' }, trial);
      await trial.end().catch(() => {});
      throw error;
    }
    skipped = error.message;
  } finally {
    deadline.end();
  }
  try {
    await trial.end();
  } catch (error) {
    report({ test: test.name, outcome: 'failed' }, trial);
    throw error;
  }
  report(
    skipped === undefined
      ? { test: test.name, outcome: 'passed' }
      : { test: test.name, outcome: 'skipped', reason: skipped },
    trial,
  );
  return skipped;
}

function reportSkip(context: unknown, name: string, reason: string): void {
  const runner = context as { skip?: (reason: string) => unknown } | undefined;
  if (typeof runner?.skip === 'function') runner.skip(reason);
  else console.warn(`skipped: ${name}: ${reason}`);
}

/** Waits for all, each at most so long; rejects with what did not end or failed. */
export async function endAll(acts: readonly { readonly what: string; readonly act: () => Promise<unknown> }[]) {
  const results = await Promise.allSettled(
    acts.map(async ({ what, act }) => {
      const deadline = new Deadline(END_MS / 2);
      try {
        await deadline.of(act(), what);
      } finally {
        deadline.end();
      }
    }),
  );
  const failed = results.find((result) => result.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}
