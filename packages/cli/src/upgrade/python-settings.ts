import type { SyntaxNode } from '@lezer/common';
import { parser } from '@lezer/python';
import { nearestName, type Settings } from '@lovage/core';
import { SETTING_SPELLINGS, type SettingName } from '@lovage/core/settings';
import { childrenOf, PythonCode } from './python-code.ts';
import { Untranslatable } from './python-literals.ts';
import {
  looksLikeSetting,
  settingNamed,
  type Todo,
  type UpgradedSetting,
  type UpgradedSettings,
} from './upgraded-settings.ts';

interface Assignment {
  readonly key: string;
  /** undefined: several values, one target; see `values`. */
  readonly values: readonly SyntaxNode[];
  readonly statement: SyntaxNode;
}

/** Their keys are options of ours. */
const WITH_OPTIONS: ReadonlySet<SettingName> = new Set<keyof Settings>([
  'taskQueues',
  'taskRoutes',
  'beatSchedule',
  'taskPublishRetryPolicy',
]);

/**
 * The settings of a Python module: `celeryconfig.py`, a Django settings file, or a module that says `app.conf.x = ...`.
 * It is parsed, never run. `django`: only names that begin with `CELERY` or `BROKER` are Celery's.
 */
export function readPythonSettings(source: string, { django = false } = {}): UpgradedSettings {
  return new PythonSettings(source, django).read();
}

class PythonSettings {
  readonly #source: string;
  readonly #django: boolean;
  readonly #code: PythonCode;
  readonly #assignments = new Map<string, Assignment>();
  readonly #others: SyntaxNode[] = [];
  /** Code of module-level names that settings refer to, in the order in which they must stand. */
  readonly #constants = new Map<string, string>();
  readonly #resolving = new Set<string>();
  readonly #settings: UpgradedSetting[] = [];
  readonly #todos: Todo[] = [];

  constructor(source: string, django: boolean) {
    this.#source = source.replaceAll('\r\n', '\n');
    this.#django = django;
    this.#code = new PythonCode(this.#source, (name) => this.#resolve(name));
  }

  read(): UpgradedSettings {
    this.#collect(childrenOf(parser.parse(this.#source).topNode));
    for (const assignment of this.#assignments.values()) this.#upgrade(assignment);
    for (const statement of this.#others) this.#mention(statement);
    const settings = this.#settings.map((setting) =>
      this.#constants.has(setting.key) ? { ...setting, code: constantName(setting.key) } : setting,
    );
    return {
      settings: this.#withoutRepeats(settings),
      todos: this.#todos.toSorted((a, b) => a.line - b.line),
      preamble: this.#constants.size === 0 ? [] : [this.#declarations()],
      imports: this.#code.imports,
    };
  }

  #declarations(): string {
    return [...this.#constants].map(([name, code]) => `const ${constantName(name)} = ${code};`).join('\n');
  }

  #collect(statements: readonly SyntaxNode[]): void {
    for (const statement of statements) {
      switch (statement.name) {
        case 'StatementGroup':
          this.#collect(childrenOf(statement));
          break;
        case 'ClassDefinition': {
          const body = childrenOf(statement).find(({ name }) => name === 'Body');
          this.#collect(body === undefined ? [] : childrenOf(body).filter(({ name }) => name !== ':'));
          break;
        }
        case 'AssignStatement':
          this.#assign(statement);
          break;
        case 'ExpressionStatement':
          if (!this.#update(statement)) this.#others.push(statement);
          break;
        default:
          this.#others.push(statement);
      }
    }
  }

  /** `A = 1`, `A: int = 1`, `A = B = 1`, `A = 1, 2`, `app.conf.a = 1`. */
  #assign(statement: SyntaxNode): void {
    const sides: SyntaxNode[][] = [[]];
    for (const part of childrenOf(statement)) {
      if (part.name === 'AssignOp') sides.push([]);
      else if (part.name !== 'TypeDef') sides.at(-1)?.push(part);
    }
    const values = sides.at(-1) as SyntaxNode[];
    const targets = sides.slice(0, -1);
    const keys = targets.map(([target, ...more]) =>
      target === undefined || more.length > 0 ? undefined : this.#keyOf(target),
    );
    if (keys.includes(undefined)) {
      this.#others.push(statement);
      return;
    }
    for (const key of keys as string[]) {
      this.#assignments.delete(key);
      this.#assignments.set(key, { key, values, statement });
    }
  }

  #keyOf(target: SyntaxNode): string | undefined {
    const text = this.#code.text(target);
    if (target.name === 'VariableName') return text;
    return /^(?:\w+\.)+conf\.(\w+)$/.exec(text)?.[1];
  }

  /** `app.conf.update(a=1)`. */
  #update(statement: SyntaxNode): boolean {
    const [call] = childrenOf(statement);
    const callee = call?.firstChild;
    if (call?.name !== 'CallExpression' || !callee || !/(?:^|\.)conf\.update$/.test(this.#code.text(callee)))
      return false;
    const parts = childrenOf(callee.nextSibling as SyntaxNode);
    const named = parts.filter((_, at) => at % 3 === 0);
    if (parts.length % 3 !== 0 || named.some(({ name }) => name !== 'VariableName')) return false;
    for (let at = 0; at < parts.length; at += 3) {
      const key = this.#code.text(parts[at] as SyntaxNode);
      this.#assignments.set(key, { key, values: [parts[at + 2] as SyntaxNode], statement: parts[at] as SyntaxNode });
    }
    return true;
  }

  #settingOf(key: string): SettingName | undefined {
    // Django's own names are none of Celery's: TIME_ZONE, EMAIL_HOST ...
    if (this.#django && !/^(?:CELERY|BROKER)/.test(key)) return undefined;
    return settingNamed(key);
  }

  #upgrade({ key, values, statement }: Assignment): void {
    const name = this.#settingOf(key);
    if (name === undefined) {
      if (!looksLikeSetting(key) || (this.#django && !/^(?:CELERY|BROKER)/.test(key))) return;
      const near = nearestName(key, [...SETTING_SPELLINGS.keys()]);
      this.#todo(statement, `There is no setting "${key}".${near}`);
      return;
    }
    try {
      const code = this.#valueOf(values, WITH_OPTIONS.has(name));
      const unfit = unfitFor(name, code);
      if (unfit !== undefined) throw new Untranslatable(unfit);
      const note = noteOn(name, code);
      this.#settings.push({
        line: this.#lineOf(statement),
        key,
        name,
        code,
        comments: [...this.#commentsBefore(statement), ...this.#commentBehind(statement)],
        ...(note === undefined ? {} : { note }),
      });
    } catch (error) {
      if (!(error instanceof Untranslatable)) throw error;
      this.#todo(statement, `${name}: ${error.message}`);
    }
  }

  #valueOf(values: readonly SyntaxNode[], renames: boolean): string {
    const [value] = values;
    if (value === undefined) throw new Untranslatable('It has no value.');
    return values.length === 1 ? this.#code.translate(value, { renames }) : this.#code.list(values);
  }

  #resolve(name: string): string | undefined {
    if (this.#constants.has(name)) return constantName(name);
    const assignment = this.#assignments.get(name);
    if (assignment === undefined || this.#resolving.has(name)) return undefined;
    this.#resolving.add(name);
    try {
      this.#constants.set(name, this.#valueOf(assignment.values, false));
      return constantName(name);
    } finally {
      this.#resolving.delete(name);
    }
  }

  /** Of statements that are run only under a condition, or change what was set: if they speak of a setting. */
  #mention(statement: SyntaxNode): void {
    if (statement.name === 'ImportStatement') {
      const text = this.#code.text(statement);
      if (/import\s+\*/.test(text)) this.#todo(statement, 'Settings of another module are not followed.');
      return;
    }
    const names = new Set<string>();
    // Small letters are settings' names only where something is given to them.
    const changed =
      statement.name === 'UpdateStatement' && statement.firstChild ? this.#keyOf(statement.firstChild) : undefined;
    if (changed !== undefined && this.#settingOf(changed) !== undefined) names.add(changed);
    statement.cursor().iterate(({ name, node }) => {
      const key = name === 'VariableName' || name === 'MemberExpression' ? this.#keyOf(node) : undefined;
      if (key !== undefined && this.#settingOf(key) !== undefined && key !== key.toLowerCase()) names.add(key);
    });
    if (names.size > 0) this.#todo(statement, `${[...names].join(', ')} depends on more than a value.`);
  }

  #todo(statement: SyntaxNode, reason: string): void {
    this.#todos.push({ line: this.#lineOf(statement), source: this.#textOf(statement), reason });
  }

  /** Of one argument of `update()`: with its value. */
  #textOf(node: SyntaxNode): string {
    const last = node.name === 'VariableName' ? node.nextSibling?.nextSibling : undefined;
    return this.#source.slice(node.from, last?.to ?? node.to).trimEnd();
  }

  #lineOf({ from }: SyntaxNode): number {
    return this.#source.slice(0, from).split('\n').length;
  }

  #commentsBefore({ from }: SyntaxNode): readonly string[] {
    const lines = this.#source.slice(0, from).split('\n').slice(0, -1);
    const comments: string[] = [];
    for (let line = lines.pop()?.trim(); line?.startsWith('#'); line = lines.pop()?.trim()) {
      comments.unshift(line.replace(/^#+ ?/, ''));
    }
    return comments;
  }

  #commentBehind({ to }: SyntaxNode): readonly string[] {
    const [, comment] = /^[ \t]*#+ ?(.*)/.exec(this.#source.slice(to)) ?? [];
    return comment === undefined ? [] : [comment];
  }

  /** The last one holds, as in Python. */
  #withoutRepeats(settings: readonly UpgradedSetting[]): readonly UpgradedSetting[] {
    return settings.filter(({ name }, at) => !settings.slice(at + 1).some((later) => later.name === name));
  }
}

/** Words that mean something in TypeScript get a mark. */
function constantName(name: string): string {
  return /^(?:default|new|var|let|const|function|switch|case|delete|typeof|void|enum|export|this|null|true|false)$/.test(
    name,
  )
    ? `${name}_`
    : name;
}

function unfitFor(name: SettingName, code: string): string | undefined {
  if (name === 'taskRoutes' && /^\[?\s*'[\w.]+'/.test(code)) {
    return 'A router is a function or an object here, not the name of a Python class: import it and give it.';
  }
  return undefined;
}

function noteOn(name: SettingName, code: string): string | undefined {
  if (
    ['taskSerializer', 'resultSerializer', 'acceptContent', 'resultAcceptContent'].includes(name) &&
    code.includes('pickle')
  ) {
    return 'Pickle is never decoded here. Let Python write JSON first.';
  }
  return undefined;
}
