import { SETTINGS, type SettingName } from '@lovage/core/settings';
import { withoutEffect } from './upgraded-settings.ts';

const PYTHON_MODULES = 'It names Python modules. Give the modules of TypeScript that define the tasks.';
/** `django-db`, `package.module:Class`, `package.module.Class`. */
const PYTHON_CLASS = /^(?:django(?:-db|-cache)?|[A-Za-z_]\w*(?:\.\w+)*:[A-Za-z_]\w*|[A-Za-z_]\w*(?:\.\w+)+)$/;
/** What is always there under its Python name. Source: celery/beat.py. */
const BUILT_IN_SCHEDULER = /^celery\.beat[:.](?:Persistent)?Scheduler$/;

/**
 * Why a setting cannot have the value that Python gives it. `value`: undefined where it is no literal; `code`: its
 * TypeScript.
 */
export function refusalOf(name: SettingName, value: unknown, code: string): string | undefined {
  if (withoutEffect(name) !== undefined) return undefined;
  if (name === 'imports' || name === 'include') return code === '[]' ? undefined : PYTHON_MODULES;
  if (name === 'taskRoutes' && /^\[?\s*'[\w.]+'/.test(code)) {
    return 'A router is a function or an object here, not the name of a Python class: import it and give it.';
  }
  if (/serializer$|acceptContent$/i.test(name) && /\bpickle\b/.test(code)) {
    return 'Pickle is never decoded here. Let Python write JSON first.';
  }
  if (value === undefined) return undefined;
  const isPythonClass = typeof value === 'string' && PYTHON_CLASS.test(value);
  if (name === 'resultBackend' && isPythonClass) {
    return 'It names Python code. Expected the URL of a result store.';
  }
  if (name === 'beatScheduler' && isPythonClass && !BUILT_IN_SCHEDULER.test(value)) {
    return 'It names Python code. Expected a module whose default export gives periodic tasks.';
  }
  return wrongKind(name, value);
}

/** What a text of the environment has to become for a setting; `other`: nothing that can be said in general. */
export function meaningOfText(name: SettingName): 'text' | 'number' | 'flag' | 'other' {
  const kind = SETTINGS.get(name)?.kind;
  if (kind === undefined || kind.read('x') !== undefined) return 'text';
  if (typeof kind.fromText('{}') === 'object') return 'other';
  const one = kind.fromText('1');
  return typeof one === 'number' ? 'number' : typeof one === 'boolean' ? 'flag' : Array.isArray(one) ? 'other' : 'text';
}

/** Ends the sentence "Expected ...". */
export function expectedOf(name: SettingName): string {
  return SETTINGS.get(name)?.kind.expected ?? 'a value';
}

/** What stands for None: a value of its own, or that the setting is not given. */
export function nothingOf(name: SettingName): 'null' | 'undefined' {
  return SETTINGS.get(name)?.whenNull === 'value' ? 'null' : 'undefined';
}

/** As core reads it. */
function wrongKind(name: SettingName, value: unknown): string | undefined {
  const setting = SETTINGS.get(name);
  if (setting === undefined) return undefined;
  const { kind, whenNull } = setting;
  if (value === null) return whenNull === 'wrong' ? `It cannot be None here. Expected ${kind.expected}.` : undefined;
  return kind.read(value) === undefined ? `Expected ${kind.expected}.` : undefined;
}
