import { maskUrl } from '../transport/url.ts';
import { checkRetryPolicy, fromWirePolicy, type RetryPolicy } from './option-names.ts';

/** What a setting may hold: how it is read from a program and from text, and how a wrong one is answered. */
export interface SettingKind<T, I = T> {
  /** Ends the sentence "Expected ...". */
  readonly expected: string;
  /** The value as the library uses it; undefined when it is wrong. Never given null or undefined. */
  read(value: unknown): T | undefined;
  /** What an environment variable's text stands for; {@link SettingKind.read} judges it afterwards. */
  readonly fromText: (text: string) => unknown;
  /** Only carries the type of what may be given. */
  readonly input?: I;
}

export interface SettingFacts {
  /** Celery's old upper-case name where it does not follow from the rule. Source: celery/app/defaults.py. */
  readonly old?: string;
  /** Spellings that only Celery's documentation prints. */
  readonly also?: readonly string[];
  /** `value`: never shown. `url`: shown with its password masked. */
  readonly secret?: 'value' | 'url';
  /** Celery's default where ours is another, and the reason for ours. */
  readonly celeryDefault?: string;
  /** Known to Celery, accepted here, changes nothing: the reason. */
  readonly withoutEffect?: string;
  /** Not a setting of Celery. */
  readonly ours?: true;
  /** How the default is made, where it depends on other settings. */
  readonly defaultText?: string;
}

/** One row of the table of settings. `T` is what the library reads, `I` what may be given. */
export interface Setting<T, I = T> extends SettingFacts {
  readonly kind: SettingKind<T, I>;
  readonly defaultValue: T;
  readonly doc: string;
  /** What null means: not given, a value of its own, or a mistake. */
  readonly whenNull: 'unset' | 'value' | 'wrong';
}

/** A setting that always has a value. */
export function setting<T, I>(
  kind: SettingKind<T, I>,
  defaultValue: T,
  doc: string,
  facts: SettingFacts = {},
): Setting<T, I> {
  return { kind, defaultValue, doc, whenNull: 'wrong', ...facts };
}

/** A setting that may be left out; null counts as left out. */
export function optional<T, I>(
  kind: SettingKind<T, I>,
  doc: string,
  facts: SettingFacts = {},
): Setting<T | undefined, I | null> {
  return { kind, defaultValue: undefined, doc, whenNull: 'unset', ...facts };
}

/** A setting where null says something: "for ever", "none". */
export function nullable<T, I>(
  kind: SettingKind<T, I>,
  defaultValue: T | null,
  doc: string,
  facts: SettingFacts = {},
): Setting<T | null, I | null> {
  return { kind, defaultValue, doc, whenNull: 'value', ...facts };
}

function kind<T, I = T>(
  expected: string,
  read: (value: unknown) => T | undefined,
  fromText: (text: string) => unknown,
): SettingKind<T, I> {
  return { expected, read, fromText };
}

const asIs = (text: string): unknown => text;

/** JSON where it is JSON, else the text itself, which is then refused with its value shown. */
function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** Whether its values are written as JSON in a text. */
export function isWrittenAsJson({ fromText }: SettingKind<unknown, unknown>): boolean {
  return fromText === json;
}

const TRUE = ['1', 'true', 'yes', 'on'];
const FALSE = ['0', 'false', 'no', 'off'];

/** From text as Celery's strtobool reads it. Source: celery/utils/serialization.py. */
export const flag: SettingKind<boolean> = kind(
  'true or false',
  (value) => (typeof value === 'boolean' ? value : undefined),
  (text) => (TRUE.includes(text.toLowerCase()) ? true : FALSE.includes(text.toLowerCase()) ? false : text),
);

export const text: SettingKind<string> = kind(
  'a text',
  (value) => (typeof value === 'string' ? value : undefined),
  asIs,
);

export const name: SettingKind<string> = kind(
  'a text that is not empty',
  (value) => (typeof value === 'string' && value !== '' ? value : undefined),
  asIs,
);

const toNumber = (text: string): unknown => (text.trim() === '' || Number.isNaN(Number(text)) ? text : Number(text));

export function integer(from: number, to = Number.MAX_SAFE_INTEGER): SettingKind<number> {
  const range = to === Number.MAX_SAFE_INTEGER ? `from ${from} up` : `from ${from} to ${to}`;
  return kind(
    `an integer ${range}`,
    (value) =>
      Number.isInteger(value) && (value as number) >= from && (value as number) <= to ? (value as number) : undefined,
    toNumber,
  );
}

/** From 0 up, or above 0 with `above: true`. */
export function seconds({ above = false }: { readonly above?: boolean } = {}): SettingKind<number> {
  return kind(
    above ? 'a number of seconds above 0' : 'a number of seconds from 0 up',
    (value) => (typeof value === 'number' && (above ? value > 0 : value >= 0) && value < Infinity ? value : undefined),
    toNumber,
  );
}

export const amount: SettingKind<number> = kind(
  'a number from 0 up',
  (value) => (typeof value === 'number' && value >= 0 ? value : undefined),
  toNumber,
);

export function oneOf<const T extends string>(...values: readonly T[]): SettingKind<T> {
  return kind(
    quotedList(values),
    (value) => values.find((allowed) => allowed === value),
    (text) => values.find((allowed) => allowed === text.toLowerCase()) ?? text,
  );
}

/** Several spellings of few values. */
export function aliasOf<const T extends string>(
  spellings: Readonly<Record<string, T>>,
): SettingKind<T, T | (string & {})> {
  const names = new Map(Object.entries(spellings));
  return kind(quotedList([...names.keys()]), (value) => names.get(String(value).toLowerCase()), asIs);
}

function quotedList(values: readonly string[]): string {
  const quoted = values.map((value) => `"${value}"`);
  return quoted.length < 2 ? quoted.join('') : `${quoted.slice(0, -1).join(', ')} or ${quoted.at(-1)}`;
}

/** From text: a JSON list, or names separated by commas. */
export const names: SettingKind<readonly string[]> = kind(
  'a list of texts',
  (value) => {
    const list = value instanceof Set ? [...(value as Set<unknown>)] : value;
    return Array.isArray(list) && list.every((item) => typeof item === 'string') ? Object.freeze([...list]) : undefined;
  },
  (text) => (text.trimStart().startsWith('[') ? json(text) : text.split(',').map((part) => part.trim())),
);

/** Like {@link names}, but one text stands for a list of one. */
export const nameOrNames: SettingKind<readonly string[], string | readonly string[]> = {
  ...names,
  expected: 'a text or a list of texts',
  read: (value) => names.read(typeof value === 'string' ? [value] : value),
};

export type Dict = Readonly<Record<string, unknown>>;

export const dict: SettingKind<Dict> = kind(
  'an object',
  (value) => (isRecord(value) ? Object.freeze({ ...value }) : undefined),
  json,
);

export const anything: SettingKind<unknown> = kind('any value', (value) => value, json);

/** A broker: one URL, several joined by `;`, or a list. Whether each can be read is said where it is used. */
export const brokerUrl: SettingKind<string | readonly string[]> = kind(
  'a URL or a list of URLs, for example "redis://localhost:6379/0"',
  (value) => (typeof value === 'string' ? value || undefined : nameList(value)),
  asIs,
);

function nameList(value: unknown): readonly string[] | undefined {
  const list = names.read(value);
  return list === undefined || list.length === 0 || list.includes('') ? undefined : list;
}

export const tls: SettingKind<boolean | Dict> = kind(
  'true, false or an object of TLS options',
  (value) => (typeof value === 'boolean' ? value : dict.read(value)),
  (text) => (typeof flag.fromText(text) === 'boolean' ? flag.fromText(text) : json(text)),
);

/** An IANA name, as in Python's zoneinfo. */
export const timeZone: SettingKind<string> = kind(
  'the name of a time zone, for example "Europe/Berlin"',
  (value) => {
    if (typeof value !== 'string' || value === '') return undefined;
    try {
      void new Intl.DateTimeFormat('en', { timeZone: value });
      return value;
    } catch {
      return undefined;
    }
  },
  asIs,
);

/** Celery's grammar: `<number>[/s|/m|/h]`. Source: celery/utils/time.py, rate. */
export const rateLimit: SettingKind<string | number> = kind(
  'a number a second or a text such as "10/m"',
  (value) => {
    if (typeof value === 'number') return value >= 0 && value < Infinity ? value : undefined;
    return typeof value === 'string' && /^(?:(?:\d+(?:\.\d+)?|\.\d+)(?:\/[smh])?)?$/.test(value) ? value : undefined;
  },
  asIs,
);

export const deliveryMode: SettingKind<1 | 2, 1 | 2 | 'transient' | 'persistent'> = kind(
  '1, 2, "transient" or "persistent"',
  (value) => (value === 1 || value === 'transient' ? 1 : value === 2 || value === 'persistent' ? 2 : undefined),
  toNumber,
);

/** Under our names or Kombu's (`max_retries`); what is left out has Celery's default. */
export const retryPolicy: SettingKind<Required<RetryPolicy>, RetryPolicy | Dict> = kind(
  'an object with some of maxRetries (an integer, or null), intervalStart, intervalStep, intervalMax (seconds)',
  (value) => {
    if (!isRecord(value)) return undefined;
    const policy = fromWirePolicy(value);
    return Object.keys(policy).length === Object.keys(value).length && checkRetryPolicy(policy) === undefined
      ? Object.freeze({ ...DEFAULT_RETRY_POLICY, ...policy })
      : undefined;
  },
  json,
);

/** Source: celery/app/defaults.py, task_publish_retry_policy. */
export const DEFAULT_RETRY_POLICY: Required<RetryPolicy> = Object.freeze({
  maxRetries: 3,
  intervalStart: 0,
  intervalStep: 0.2,
  intervalMax: 1,
});

/** A value of a shape that its own module judges; `looksRight` only finds gross mistakes. */
export function shapeOf<T>(
  expected: string,
  looksRight: (value: unknown) => boolean,
  fromText: (text: string) => unknown = json,
): SettingKind<T> {
  return kind(expected, (value) => (looksRight(value) ? (value as T) : undefined), fromText);
}

/** From text: JSON, or names separated by commas. */
export function namesOrJson(text: string): unknown {
  const value = json(text);
  return typeof value === 'string' ? value.split(',').map((part) => part.trim()) : value;
}

export function isRecord(value: unknown): value is Dict {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  // A plain object of any realm, or one without a prototype: not a Date, Map or Buffer.
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

/** The text by which an error shows a value: short, secrets masked. */
export function showValue(value: unknown, secret: SettingFacts['secret']): string {
  if (secret === 'value') return '"**"';
  if (typeof value === 'string') return JSON.stringify(shorten(maskUrl(value)));
  if (typeof value === 'function') return 'a function';
  if (typeof value === 'object' && value !== null)
    return Array.isArray(value) ? 'a list' : `an object (${value.constructor?.name ?? 'Object'})`;
  return String(value);
}

function shorten(value: string): string {
  return value.length > 80 ? `${value.slice(0, 77)}...` : value;
}
