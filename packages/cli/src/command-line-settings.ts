import { nearestName } from '@lovage/core';
import { SETTING_SPELLINGS, SETTINGS, type SettingName } from '@lovage/core/settings';
import { maskUrl } from '@lovage/core/transport';
import { CommandError, EXIT } from './exit-codes.ts';
import { overrideSetting } from './override-setting.ts';

/** What `(int)5` and the like make of a text. Source: celery/loaders/base.py; celery/app/defaults.py, Option.typemap. */
const CASTS: Readonly<Record<string, (text: string) => unknown>> = {
  any: (text) => text,
  string: (text) => text,
  int: (text) => (/^\s*[-+]?\d+\s*$/.test(text) ? Number(text) : undefined),
  float: (text) => (text.trim() === '' || Number.isNaN(Number(text)) ? undefined : Number(text)),
  bool: (text) => (/^(?:true|yes|on|1)$/i.test(text) ? true : /^(?:false|no|off|0)$/i.test(text) ? false : undefined),
  json,
  list: json,
  tuple: json,
  dict: json,
};

/**
 * Settings at the end of a command line, over all others: `worker.prefetch_multiplier=10`, also with `_` for the point;
 * `.prefetch_multiplier=10` for one of the command's own; `broker.transport_options=(dict){"a": 1}` with a type before the
 * value. All are read before one is set.
 * Throws `CommandError` for what is no setting, and for a value that it cannot have.
 * Source: celery/loaders/base.py, cmdline_config_parser.
 */
export function applyCommandLineSettings(given: readonly string[], namespace: 'worker' | 'beat'): void {
  for (const [name, text] of given.map((one) => readSetting(one, namespace))) overrideSetting(name, text);
}

function readSetting(given: string, namespace: string): readonly [SettingName, string] {
  const at = given.indexOf('=');
  const key = given.slice(0, at);
  if (at < 1) {
    throw new CommandError(
      `"${maskUrl(given)}" is no setting. Expected NAME=VALUE, for example ${namespace}.${EXAMPLES[namespace]}.`,
      EXIT.usage,
    );
  }
  const name = nameOf(key, namespace);
  const text = uncast(given.slice(at + 1), key);
  const { kind, whenNull } = SETTINGS.get(name) as NonNullable<ReturnType<typeof SETTINGS.get>>;
  const isNull = whenNull !== 'wrong' && /^(?:none|null)$/i.test(text);
  // An empty variable counts as none.
  if (text === '' || (!isNull && kind.read(kind.fromText(text)) === undefined)) {
    throw new CommandError(
      `The value of ${key} is wrong. Expected ${kind.expected}${whenNull === 'wrong' ? '' : ', or null'}.`,
      EXIT.usage,
    );
  }
  return [name, text];
}

const EXAMPLES: Readonly<Record<string, string>> = { worker: 'prefetch_multiplier=10', beat: 'max_loop_interval=30' };

function nameOf(key: string, namespace: string): SettingName {
  const lower = key.toLowerCase().replaceAll('.', '_');
  const today = lower.startsWith('_') ? namespace + lower : lower;
  const name = SETTING_SPELLINGS.get(today) ?? SETTING_SPELLINGS.get(key);
  if (name !== undefined) return name;
  throw new CommandError(
    `There is no setting "${maskUrl(key)}".${nearestName(today, [...SETTING_SPELLINGS.keys()])}`,
    EXIT.usage,
  );
}

/** The text that stands for the value in an environment. */
function uncast(text: string, key: string): string {
  const [whole, type] = /^\((\w+)\)/.exec(text) ?? [];
  if (whole === undefined || type === undefined) return text;
  const cast = Object.hasOwn(CASTS, type) ? CASTS[type] : undefined;
  if (cast === undefined) {
    throw new CommandError(
      `${key} has the unknown type "${type}". Expected one of: ${Object.keys(CASTS).join(', ')}.`,
      EXIT.usage,
    );
  }
  const value = cast(text.slice(whole.length));
  if (value === undefined) throw new CommandError(`The value of ${key} is no ${type}.`, EXIT.usage);
  return typeof value === 'string' ? value : JSON.stringify(value);
}

function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
