import { availableParallelism } from 'node:os';
import { inspect, isDeepStrictEqual } from 'node:util';
import { ConfigError, type LovageError } from '../errors.ts';
import { nearestName } from '../internal/nearest-name.ts';
import { maskUrl } from '../transport/url.ts';
import { checkAnnotations } from './annotations.ts';
import { CONFIG_PARTS } from './define-config.ts';
import { toSnakeCase } from './option-names.ts';
import { Queues } from './queues.ts';
import { Router } from './router.ts';
import { isRecord, isWrittenAsJson, showValue, type Setting } from './setting-kinds.ts';
import {
  oldSettingName,
  SETTING_SPELLINGS,
  SETTINGS,
  type SettingName,
  type Settings,
  type SettingsInput,
} from './settings-table.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** One place that settings come from. */
export interface SettingsSource {
  /** How errors call it: `new Lovage("shop")`, `settings.ts`. */
  readonly from: string;
  /**
   * An object, a module's exports or an environment. Of a module with a default export that is an object, that one is
   * read; of other modules every export but functions and classes that are no settings.
   */
  readonly values: SettingsInput | Readonly<Record<string, unknown>>;
  /**
   * Read only keys that begin so, with today's names in upper case: with `CELERY` or `CELERY_`,
   * `CELERY_TASK_ALWAYS_EAGER`. Other keys are none of our business then. Old names are read too where they begin so.
   */
  readonly namespace?: string;
  /** Values are texts, as in an environment. Default: true for `process.env`. */
  readonly text?: boolean;
}

/** Variables that win over everything else, as in Celery. Source: celery/app/utils.py, Settings. */
const CELERY_VARIABLES: readonly (readonly [string, SettingName])[] = [
  ['CELERY_BROKER_URL', 'brokerUrl'],
  ['CELERY_BROKER_READ_URL', 'brokerReadUrl'],
  ['CELERY_BROKER_WRITE_URL', 'brokerWriteUrl'],
  ['CELERY_RESULT_BACKEND', 'resultBackend'],
];

const OWN_PREFIX = 'LOVAGE_';
const OWN_VARIABLES: readonly (readonly [string, SettingName])[] = [...SETTINGS.keys()].map((name) => [
  `${OWN_PREFIX}${toSnakeCase(name).toUpperCase()}`,
  name,
]);

interface Given {
  /** As opposed to defaults. */
  readonly names: ReadonlySet<SettingName>;
  /** Names that Celery has no more. */
  readonly removed: readonly string[];
}

/** Where settings keep it: another installed copy of this package, the command's for example, reads it too. */
const GIVEN: unique symbol = Symbol.for('@lovage/given-settings') as typeof GIVEN;

function givenOf(settings: Settings): Given | undefined {
  return (settings as { readonly [GIVEN]?: Given })[GIVEN];
}

/** False when the setting has its default because nobody gave it; null, where it may be given, is given. */
export function isSettingGiven(settings: Settings, name: SettingName): boolean {
  return givenOf(settings)?.names.has(name) ?? false;
}

/** Names of Celery's that were removed before or with 4.0: accepted, so that an old file can be read. */
export const REMOVED_SETTINGS: ReadonlySet<string> = new Set([
  'BROKER_INSIST',
  'CELERY_AMQP_TASK_RESULT_CONNECTION_MAX',
  'CELERY_AMQP_TASK_RESULT_EXPIRES',
  'CELERY_BROADCAST_EXCHANGE',
  'CELERY_BROADCAST_EXCHANGE_TYPE',
  'CELERY_BROADCAST_QUEUE',
  'CELERY_CHORD_PROPAGATES',
  'CELERY_QUEUE_HA_POLICY',
  'CELERY_SEND_TASK_ERROR_EMAILS',
  'CELERY_TASK_ERROR_WHITELIST',
  'CELERYBEAT_LOG_FILE',
  'CELERYBEAT_LOG_LEVEL',
  'CELERYD_AUTORELOADER',
  'CELERYD_ETA_SCHEDULER',
  'CELERYD_ETA_SCHEDULER_PRECISION',
  'CELERYD_FORCE_EXECV',
  'CELERYD_LOG_FILE',
  'CELERYD_LOG_LEVEL',
  'CELERYD_MEDIATOR',
  'CELERYMON_LOG_FILE',
  'CELERYMON_LOG_FORMAT',
  'CELERYMON_LOG_LEVEL',
]);

interface Found {
  readonly key: string;
  readonly value: unknown;
}

/**
 * The settings of an app. Later sources win over earlier ones; `LOVAGE_<NAME>` in the environment wins over all of them
 * (`LOVAGE_WORKER_CONCURRENCY=8`; lists by commas, objects as JSON; an empty variable counts as not set), and so do
 * Celery's own four: `CELERY_BROKER_URL`, `CELERY_BROKER_READ_URL`, `CELERY_BROKER_WRITE_URL`, `CELERY_RESULT_BACKEND`.
 *
 * Each key may have any spelling of Celery: `taskSerializer`, `task_serializer`, `CELERY_TASK_SERIALIZER`.
 *
 * Throws `ConfigError` for an unknown name (with the nearest one), for two different values of one setting in one
 * source, for names of before Celery 4 together with today's, and for a value that a setting cannot have.
 */
export function readSettings(sources: readonly SettingsSource[], environment: Environment = process.env): Settings {
  const values = new Map<SettingName, unknown>();
  for (const source of sources) {
    for (const [name, value] of readSource(source, environment)) values.set(name, value);
  }
  for (const [name, value] of readEnvironment(environment)) values.set(name, value);
  const settings = resolve(values);
  const keys = sources.flatMap(({ values: given }) =>
    given === process.env ? [] : Object.keys(settingsObject(given)),
  );
  const given: Given = { names: new Set(values.keys()), removed: keys.filter((key) => REMOVED_SETTINGS.has(key)) };
  Object.freeze(Object.defineProperty(settings, GIVEN, { value: given }));
  // They know best what they cannot read; the mistake shows here and not with the first message.
  void new Router(settings, new Queues(settings));
  checkAnnotations(settings.taskAnnotations);
  return settings;
}

function readSource(source: SettingsSource, environment: Environment): Map<SettingName, unknown> {
  const { from, namespace } = source;
  const text =
    source.text ?? ((source.values as unknown) === process.env || (source.values as unknown) === environment);
  if (source.values === process.env && !namespace) {
    throw new ConfigError(
      `${from} was given the whole environment. Say which variables are settings: { namespace: 'CELERY' } reads those that begin with CELERY_.`,
    );
  }
  const entries = entriesOf(source.values);
  const prefix = namespace === undefined || namespace === '' ? undefined : `${namespace.replace(/_$/, '')}_`;
  const found = new Map<SettingName, Found[]>();
  for (const [key, value] of entries) {
    const name = prefix === undefined ? SETTING_SPELLINGS.get(key) : nameInNamespace(key, prefix, text);
    if (name === undefined) {
      if (prefix === undefined && CONFIG_PARTS.has(key)) continue;
      if (REMOVED_SETTINGS.has(key)) continue;
      if (prefix === undefined ? isForeign(value, source.values) : !key.startsWith(prefix)) continue;
      if (text && prefix !== undefined && isOthersVariable(key, prefix)) continue;
      throw unknownSetting(key, prefix, from);
    }
    if (value !== undefined && !(text && value === '')) listOf(found, name).push({ key, value });
  }
  if (prefix === undefined) refuseMixture([...found.values()].flat(), from);
  return readFound(found, text, from);
}

/**
 * Names of before 4.0 and today's snake_case names in one place: one of the two halves may be a leftover. As in Celery the
 * rarer ones are to be renamed, unless each of them is given under both names; camelCase goes with either.
 * Source: celery/app/utils.py, detect_settings.
 */
function refuseMixture(found: readonly Found[], from: string): void {
  const keys = new Set(found.map(({ key }) => key));
  const names = [...keys].map((key) => [key, SETTING_SPELLINGS.get(key) as SettingName] as const);
  const today = names.filter(([key, name]) => key.includes('_') && key === toSnakeCase(name));
  const old = names.filter(([key, name]) => key === oldSettingName(name));
  const isOldRarer = old.length <= today.length;
  const renames = (isOldRarer ? old : today)
    .map(([key, name]) => [key, isOldRarer ? toSnakeCase(name) : (oldSettingName(name) as string)] as const)
    .filter(([, other]) => !keys.has(other));
  if (today.length === 0 || old.length === 0 || renames.length === 0) return;
  throw new ConfigError(
    `${from} mixes settings under names of before Celery 4 with today's. Rename ${renames.map(([key, other]) => `${key} to ${other}`).join(', ')}.`,
    { facts: { settings: renames.map(([key]) => key) } },
  );
}

function entriesOf(values: object): [string, unknown][] {
  const given = settingsObject(values);
  const isModule = isModuleExports(given);
  return Object.entries(given).filter(
    ([key]) => !isModule || !['default', 'module.exports', '__esModule'].includes(key),
  );
}

/** The object that holds the settings: the default export of a module that has one, else what was given. */
export function settingsObject(values: object): object {
  if (typeof values !== 'object' || values === null) {
    throw new ConfigError(`Settings are ${String(values)}. Expected an object, a module or an environment.`);
  }
  const exported = (values as { default?: unknown }).default;
  return isModuleExports(values) && isRecord(exported) ? exported : values;
}

/** The settings that only `values` gives, of all `sources`. */
export function settingsOnlyIn(values: SettingsSource, sources: readonly SettingsSource[]): readonly SettingName[] {
  const others = new Set([
    ...sources.flatMap((source) => [...readSource(source, process.env).keys()]),
    ...readEnvironment(process.env).keys(),
  ]);
  return [...readSource(values, process.env).keys()].filter((name) => !others.has(name));
}

/** By its tag, which loaders that wrap a module keep; CommonJS compiled from ESM says it in its own way. */
function isModuleExports(values: object): boolean {
  return (
    (values as { [Symbol.toStringTag]?: unknown })[Symbol.toStringTag] === 'Module' ||
    Object.hasOwn(values, '__esModule')
  );
}

/** A module's helper functions are no misspelt settings. */
function isForeign(value: unknown, values: object): boolean {
  return typeof value === 'function' && isModuleExports(values);
}

/** What Kubernetes says of each service, and what Celery and its scripts read that is no setting. */
const OTHERS_VARIABLES =
  /^(?:(?:.*_)?(?:SERVICE_HOST|SERVICE_PORT(?:_.*)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)|APP|BIN|CONFIG_MODULE|LOADER|LOG_(?:FILE|LEVEL|REDIRECT(?:_LEVEL)?)|CUSTOM_WORKER_POOL|RDB_(?:HOST|PORT)|RDBSIG|SKIP_CHECKS|TRACE_APP|BENCH(?:_EVERY)?|WORKER_(?:REVOKES?|SUCCESSFUL)_(?:MAX|EXPIRES))$/;

/** An environment has variables of others, whatever they begin with; one that is nearly a setting is a mistake. */
function isOthersVariable(key: string, prefix: string): boolean {
  const rest = key.slice(prefix.length);
  const names = [...SETTINGS.keys()].map((name) => toSnakeCase(name).toUpperCase());
  return OTHERS_VARIABLES.test(rest) || nearestName(rest, names) === '';
}

/** Old names that Celery's namespace leaves out although they are Celery's; in an environment `BROKER_` may be anybody's. */
const OLD_PREFIX = { object: /^(?:CELERYD|CELERYBEAT|BROKER)_/, environment: /^(?:CELERYD|CELERYBEAT)_/ } as const;

/**
 * Today's name after the prefix; an old name that begins with it. With Celery's own prefix old names that begin otherwise
 * are read too, where Celery would drop them without a word.
 * Source: celery/utils/collections.py, ConfigurationView.
 */
function nameInNamespace(key: string, prefix: string, text: boolean): SettingName | undefined {
  if (!key.startsWith(prefix)) {
    const isOld = prefix === 'CELERY_' && OLD_PREFIX[text ? 'environment' : 'object'].test(key);
    return isOld ? SETTING_SPELLINGS.get(key) : undefined;
  }
  const rest = key.slice(prefix.length);
  return (
    (rest === rest.toUpperCase() ? SETTING_SPELLINGS.get(rest.toLowerCase()) : undefined) ?? SETTING_SPELLINGS.get(key)
  );
}

function unknownSetting(key: string, prefix: string | undefined, from: string): LovageError {
  const isUpper = key === key.toUpperCase();
  const candidates = isUpper
    ? [...SETTINGS.keys()].flatMap((name) => {
        const today = toSnakeCase(name).toUpperCase();
        return prefix === undefined ? [oldSettingName(name) ?? [], toSnakeCase(name)].flat() : `${prefix}${today}`;
      })
    : [...SETTINGS.keys(), 'broker', 'backend'].map((name) => (key.includes('_') ? toSnakeCase(name) : name));
  return new ConfigError(`${from} has an unknown setting "${key}".${nearestName(key, candidates)}`, {
    facts: { setting: key },
  });
}

function readEnvironment(environment: Environment): Map<SettingName, unknown> {
  const found = new Map<SettingName, Found[]>();
  for (const [key, name] of [...OWN_VARIABLES, ...CELERY_VARIABLES]) {
    const value = environment[key];
    if (value !== undefined && value !== '') listOf(found, name).push({ key, value });
  }
  return readFound(found, true, 'The environment');
}

function listOf<K, V>(lists: Map<K, V[]>, key: K): V[] {
  let list = lists.get(key);
  if (list === undefined) lists.set(key, (list = []));
  return list;
}

function readFound(found: Map<SettingName, Found[]>, text: boolean, from: string): Map<SettingName, unknown> {
  const read = new Map<SettingName, unknown>();
  for (const [name, [first, ...others]] of found) {
    const { key, value } = first as Found;
    const setting = SETTINGS.get(name) as Setting<unknown, unknown>;
    const result = readValue(setting, key, value, text, from);
    for (const other of others) {
      if (!isDeepStrictEqual(readValue(setting, other.key, other.value, text, from), result)) {
        throw new ConfigError(
          `${from} gives one setting two values: "${key}" is ${showValue(value, setting.secret)} and "${other.key}" is ${showValue(other.value, setting.secret)}. Keep one of them.`,
          { facts: { setting: name } },
        );
      }
    }
    read.set(name, result);
  }
  return read;
}

function readValue(
  setting: Setting<unknown, unknown>,
  key: string,
  given: unknown,
  text: boolean,
  from: string,
): unknown {
  const { kind, whenNull, secret } = setting;
  const isNull =
    given === null ||
    (text && whenNull !== 'wrong' && typeof given === 'string' && ['none', 'null'].includes(given.toLowerCase()));
  if (isNull && whenNull !== 'wrong') return whenNull === 'value' ? null : undefined;
  const value = isNull ? undefined : kind.read(text && typeof given === 'string' ? kind.fromText(given) : given);
  if (value === undefined) {
    const orNull = whenNull === 'wrong' ? '' : ', or null';
    // Text that was to be JSON may hold secrets anywhere.
    const isJson = text && typeof given === 'string' && isWrittenAsJson(kind);
    const shown = isJson ? `a text of ${given.length} characters` : showValue(given, secret);
    const form = isJson ? ', written as JSON' : '';
    throw new ConfigError(`${from} has ${key} = ${shown}. Expected ${kind.expected}${form}${orNull}.`, {
      facts: { setting: key },
    });
  }
  return value;
}

/** How many tasks run at once when nothing is said: 100 for `async`, 1 for `solo`, else the number of CPUs. */
export function defaultConcurrency(pool: Settings['workerPool']): number {
  return pool === 'async' ? 100 : pool === 'solo' ? 1 : availableParallelism();
}

function resolve(values: ReadonlyMap<SettingName, unknown>): Settings {
  const settings = Object.fromEntries(
    [...SETTINGS].map(([name, { defaultValue }]) => [
      name,
      values.get(name) ?? (values.get(name) === null ? null : defaultValue),
    ]),
  ) as { -readonly [N in SettingName]: Settings[N] };
  const given = (name: SettingName): boolean => values.get(name) !== undefined;

  if (!given('workerConcurrency')) settings.workerConcurrency = defaultConcurrency(settings.workerPool);
  if (!given('taskDefaultExchange')) settings.taskDefaultExchange = settings.taskDefaultQueue;
  if (!given('taskDefaultRoutingKey')) settings.taskDefaultRoutingKey = settings.taskDefaultQueue;
  if (!given('brokerUrl') && settings.brokerHost !== undefined) settings.brokerUrl = urlFromParts(settings);
  const hasBroker = (['brokerUrl', 'brokerHost', 'brokerReadUrl', 'brokerWriteUrl'] as const).some(given);
  if (!hasBroker && !values.has('resultBackend')) settings.resultBackend = 'db+sqlite:///lovage.db';
  if (settings.resultBackend === 'database' || settings.resultBackend === 'db') {
    settings.resultBackend = namedStore(settings.resultBackend, 'databaseUrl', settings.databaseUrl, 'db+');
  } else if (settings.resultBackend === 'cache') {
    settings.resultBackend = namedStore('cache', 'cacheBackend', settings.cacheBackend, 'cache+');
  }
  const { taskTimeLimit, taskSoftTimeLimit } = settings;
  if (taskTimeLimit !== undefined && taskSoftTimeLimit !== undefined && taskSoftTimeLimit > taskTimeLimit) {
    throw new ConfigError(
      `taskSoftTimeLimit is ${taskSoftTimeLimit}, above taskTimeLimit, which is ${taskTimeLimit}. The soft limit must come first.`,
    );
  }
  return settings;
}

/** Source: celery/app/base.py, _connection, which takes what the URL does not say from these. */
function urlFromParts(settings: Settings): string {
  const { brokerTransport = 'amqp', brokerHost = '', brokerPort, brokerUser, brokerPassword, brokerVhost } = settings;
  if (brokerHost.includes('://')) return brokerHost;
  const password = brokerPassword === undefined ? '' : `:${encodeURIComponent(brokerPassword)}`;
  const user = brokerUser === undefined && password === '' ? '' : `${encodeURIComponent(brokerUser ?? '')}${password}@`;
  const port = brokerPort === undefined ? '' : `:${brokerPort}`;
  const path = brokerVhost === undefined ? '' : `/${encodeURIComponent(brokerVhost)}`;
  return `${brokerTransport}://${user}${brokerHost}${port}${path}`;
}

function namedStore(backend: string, setting: SettingName, url: string | undefined, prefix: string): string {
  if (!url)
    throw new ConfigError(`resultBackend is "${backend}" but ${setting} is not set. Give the URL as resultBackend.`);
  return url.startsWith(prefix) ? url : `${prefix}${url}`;
}

/** Names of the settings that were given and change nothing, so that an app can say so once. */
export function settingsWithoutEffect(settings: Settings): readonly string[] {
  const { names = [], removed = [] } = givenOf(settings) ?? {};
  return [...[...names].filter((name) => SETTINGS.get(name)?.withoutEffect !== undefined), ...removed];
}

const MASK = '********';

/** Celery's rule for what to hide inside of values, and a bit more. Source: celery/app/utils.py, HIDDEN_SETTINGS. */
const HIDDEN = /API|TOKEN|KEY|SECRET|PASS|PWD|SIGNATURE|CREDENTIAL/i;
/** Under these nothing is shown, whatever it is made of. */
const HIDDEN_WHOLE = /SECRET|PASSWORD|CREDENTIAL|TOKENS?$/i;
const PRIVATE_KEY = /-----BEGIN [A-Z ]*PRIVATE KEY/;

/**
 * The settings as they may be shown, to people and to remote control's `conf`: Celery's names, values that JSON can
 * hold, secrets and the passwords of URLs masked. Without `withDefaults` only those that were given.
 * Source: celery/app/utils.py, Settings.table.
 */
export function describeSettings(
  settings: Settings,
  { withDefaults = false }: { readonly withDefaults?: boolean } = {},
): Readonly<Record<string, unknown>> {
  const given = givenOf(settings)?.names;
  return Object.fromEntries(
    [...SETTINGS]
      .filter(([name]) => withDefaults || given === undefined || given.has(name))
      .map(([name, setting]) => [toSnakeCase(name), describeValue(settings[name], setting)]),
  );
}

function describeValue(value: unknown, { secret }: Setting<unknown, unknown>): unknown {
  if (value === undefined || value === null) return null;
  if (secret === 'value') return typeof value === 'boolean' ? value : MASK;
  return shown(value);
}

function shown(value: unknown, depth = 0): unknown {
  if (typeof value === 'string') return PRIVATE_KEY.test(value) ? MASK : maskUrl(value);
  if (typeof value === 'boolean' || value === null || value === undefined) return value ?? null;
  if (typeof value === 'function') return `<function ${value.name}>`;
  if (typeof value === 'object') {
    if (depth > 8) return '...';
    if (Array.isArray(value)) return value.map((item) => shown(item, depth + 1));
    if (isRecord(value)) {
      return Object.fromEntries(
        Object.entries(value).map(([key, item]) => [key, hides(key, item) ? MASK : shown(item, depth + 1)]),
      );
    }
    return shownInstance(value);
  }
  return typeof value === 'number' && Number.isFinite(value) ? value : String(value as number | bigint | symbol);
}

/** Schedules and URLs say what they are; whatever else has a class is only named: its fields may be secrets. */
function shownInstance(value: object): string {
  if (value instanceof Date || value instanceof RegExp) return inspect(value);
  const isBytes = ArrayBuffer.isView(value);
  const { toString } = value as { readonly toString?: () => string };
  if (!isBytes && toString !== undefined && toString !== Object.prototype.toString)
    return maskUrl(toString.call(value));
  return `<${value.constructor?.name ?? 'object'}${isBytes ? ` of ${value.byteLength} bytes` : ''}>`;
}

/** Routing keys are no keys to anything; whole objects are looked into. */
function hides(key: string, value: unknown): boolean {
  if (typeof value === 'boolean' || value === null || value === undefined) return false;
  if (typeof value === 'object') return HIDDEN_WHOLE.test(key);
  return HIDDEN.test(key.replace(/routing_?key|binding_?key/i, ''));
}
