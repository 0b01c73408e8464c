import { SETTING_SPELLINGS, SETTINGS, type SettingName } from '@lovage/core/settings';

/** A setting of the old file under its name of today. */
export interface UpgradedSetting {
  readonly line: number;
  /** As the file has it. */
  readonly key: string;
  readonly name: SettingName;
  /** TypeScript. */
  readonly code: string;
  /** Comments that stood before it, without their signs. */
  readonly comments: readonly string[];
}

/** What could not be rewritten: it becomes a comment. */
export interface Todo {
  readonly line: number;
  readonly source: string;
  readonly reason: string;
}

/** What an old settings file says, in terms of today's. */
export interface UpgradedSettings {
  readonly settings: readonly UpgradedSetting[];
  readonly todos: readonly Todo[];
  /** What a person should know about the file as a whole. */
  readonly notes: readonly string[];
  /** Statements that stand before the settings. */
  readonly preamble: readonly string[];
  /** Names that the code takes from `@lovage/core` and other packages. */
  readonly imports: ReadonlyMap<string, ReadonlySet<string>>;
}

/** The setting that a key names, in any of its spellings, or in Django's namespace with today's names. */
export function settingNamed(key: string): SettingName | undefined {
  const known = SETTING_SPELLINGS.get(key);
  if (known !== undefined) return known;
  return key.startsWith('CELERY_') ? SETTING_SPELLINGS.get(key.slice('CELERY_'.length).toLowerCase()) : undefined;
}

const PREFIXES = /^(?:CELERY|CELERYD|CELERYBEAT|CELERYMON|BROKER)_|^(?:task|worker|result|broker|beat|event|control)_/;

/** Whether a key that names no setting looks as if it should. */
export function looksLikeSetting(key: string): boolean {
  return PREFIXES.test(key);
}

/** The reason why a setting changes nothing here; undefined for one that does. */
export function withoutEffect(name: SettingName): string | undefined {
  return SETTINGS.get(name)?.withoutEffect;
}

/** TypeScript for a text. */
export function quoted(text: string): string {
  return `'${JSON.stringify(text).slice(1, -1).replaceAll('\\"', '"').replaceAll("'", "\\'")}'`;
}
