import { ConfigError } from '../errors.ts';
import { nearestName } from '../internal/nearest-name.ts';
import { validateApplyOptions, type ApplyOptions } from './option-names.ts';
import { describeParameters, type ParameterList } from './parameters.ts';
import { rateLimit } from './setting-kinds.ts';
import type { AutoRetryOptions, TaskFunction, TaskOptions } from './task.ts';

export const HOOK_NAMES = ['beforeStart', 'onSuccess', 'onFailure', 'onRetry', 'afterReturn'] as const;

/** Task options that act as options of each call. */
const CALL_OPTION_NAMES = [
  'queue',
  'exchange',
  'routingKey',
  'priority',
  'serializer',
  'compression',
  'expires',
  'ignoreResult',
] as const satisfies readonly (keyof TaskOptions & keyof ApplyOptions)[];

/** Celery's task names, and nothing that could be mistaken for a path or a line of a log. */
const NAME = /^[\w.:/@-]{1,255}$/;

type OptionCheck = readonly [expected: string, isRight: (value: unknown) => boolean];

const FLAG: OptionCheck = ['true or false', (value) => typeof value === 'boolean'];
const LIST: OptionCheck = ['a list', Array.isArray];
const HANDLER: OptionCheck = ['a function', (value) => typeof value === 'function'];
const RETRIES: OptionCheck = [
  'an integer from 0 up, or null',
  (value) => Number.isInteger(value) && (value as number) >= 0,
];
const SECONDS: OptionCheck = [
  'a number of seconds from 0 up',
  (value) => Number.isFinite(value) && (value as number) >= 0,
];
const RATE: OptionCheck = [rateLimit.expected, (value) => rateLimit.read(value) !== undefined];
const OBJECT: OptionCheck = ['an object', (value) => typeof value === 'object' && !Array.isArray(value)];
const SCHEMA: OptionCheck = [
  'a Standard Schema, as zod, valibot and arktype make them',
  (value) => typeof (value as { '~standard'?: { validate?: unknown } })['~standard']?.validate === 'function',
];

/** Every option; undefined: checked as an option of a call. */
const OPTIONS: Readonly<Record<keyof TaskOptions, OptionCheck | undefined>> = {
  bind: FLAG,
  base: HANDLER,
  input: SCHEMA,
  params: LIST,
  queue: undefined,
  exchange: undefined,
  routingKey: undefined,
  priority: undefined,
  serializer: undefined,
  compression: undefined,
  expires: undefined,
  ignoreResult: undefined,
  storeErrorsEvenIfIgnored: FLAG,
  acksLate: FLAG,
  acksOnFailureOrTimeout: FLAG,
  rejectOnWorkerLost: FLAG,
  trackStarted: FLAG,
  maxRetries: RETRIES,
  defaultRetryDelay: SECONDS,
  retry: OBJECT,
  throws: LIST,
  timeLimit: undefined,
  softTimeLimit: undefined,
  rateLimit: RATE,
  sendEvents: FLAG,
  beforeStart: HANDLER,
  onSuccess: HANDLER,
  onFailure: HANDLER,
  onRetry: HANDLER,
  afterReturn: HANDLER,
};
const OPTION_CHECKS: ReadonlyMap<string, OptionCheck | undefined> = new Map(Object.entries(OPTIONS));

const RETRY_CHECKS: ReadonlyMap<string, OptionCheck> = new Map<keyof AutoRetryOptions, OptionCheck>([
  ['for', LIST],
  ['notFor', LIST],
  ['maxRetries', RETRIES],
  ['countdown', SECONDS],
  ['backoff', ['true, false or a number', (value) => typeof value === 'boolean' || Number.isFinite(value)]],
  ['backoffMax', SECONDS],
  ['jitter', FLAG],
]);

/** Throws `ConfigError` for what no app could register. Gives the parameters of the function. */
export function checkTask(name: string, options: TaskOptions, fn: TaskFunction | undefined): ParameterList {
  if (typeof fn !== 'function') {
    throw new ConfigError(
      `Task "${name}" has no function. Expected app.task(name, function) or app.task(name, options, function).`,
    );
  }
  if (!NAME.test(name)) {
    throw new ConfigError(
      `The task name ${JSON.stringify(name)} is not allowed. Expected 1 to 255 letters, digits and ". _ - : / @".`,
    );
  }
  checkOptions(name, options);
  validateApplyOptions({ ...callOptionsOf(options), ...limitsOf(options) }, `Task "${name}"`);
  return describeParameters(name, fn, options);
}

/** The same for options that settings put over those of a task. */
export function checkAnnotation(what: string, options: TaskOptions): void {
  const fixed = Object.keys(options).find((key) => key in FIXED);
  if (fixed !== undefined) throw new ConfigError(`${what} has "${fixed}", which belongs to the function of the task.`);
  checkEach(what, '', options, OPTION_CHECKS);
  if (options.retry != null) checkEach(`Option retry of ${what}`, '', options.retry, RETRY_CHECKS);
  validateApplyOptions({ ...callOptionsOf(options), ...limitsOf(options) }, what);
}

const FIXED = { bind: true, base: true, input: true, params: true } as const;

/** Those of a task's options that act as options of each call. */
export function callOptionsOf(options: TaskOptions): ApplyOptions {
  return Object.fromEntries(CALL_OPTION_NAMES.filter((key) => options[key] != null).map((key) => [key, options[key]]));
}

/** What the call's own options are checked for is left to `validateApplyOptions`. */
function checkOptions(task: string, options: TaskOptions): void {
  checkEach(`Task "${task}"`, task, options, OPTION_CHECKS);
  if (options.retry != null) checkEach(`Option retry of task "${task}"`, task, options.retry, RETRY_CHECKS);
}

function checkEach(
  what: string,
  task: string,
  options: object,
  checks: ReadonlyMap<string, OptionCheck | undefined>,
): void {
  for (const [key, value] of Object.entries(options)) {
    if (!checks.has(key)) {
      throw new ConfigError(`${what} has an unknown option "${key}".${nearestName(key, checks.keys())}`, {
        facts: { task },
      });
    }
    const check = checks.get(key);
    if (value === undefined || value === null || check === undefined || check[1](value)) continue;
    const shown =
      typeof value === 'string' ? JSON.stringify(value) : typeof value === 'object' ? 'an object' : String(value);
    throw new ConfigError(`${what} has ${key} ${shown}. Expected ${check[0]}.`, { facts: { task } });
  }
}

function limitsOf({ timeLimit, softTimeLimit }: TaskOptions): Pick<ApplyOptions, 'timeLimit' | 'softTimeLimit'> {
  return { ...(timeLimit != null && { timeLimit }), ...(softTimeLimit != null && { softTimeLimit }) };
}
