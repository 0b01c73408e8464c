import type { SyntaxNode, Tree } from '@lezer/common';
import { parser } from '@lezer/python';
import { nearestName, type Settings } from '@lovage/core';
import { SETTING_SPELLINGS, type SettingName } from '@lovage/core/settings';
import { CommandError, EXIT } from '../exit-codes.ts';
import { changedNames } from './python-changes.ts';
import { type Constant, PythonCode } from './python-code.ts';
import { readString, Untranslatable } from './python-literals.ts';
import { childrenOf } from './python-nodes.ts';
import { PythonValues } from './python-values.ts';
import { expectedOf, meaningOfText, nothingOf, refusalOf } from './setting-values.ts';
import {
  looksLikeSetting,
  settingNamed,
  type Todo,
  type UpgradedSetting,
  type UpgradedSettings,
} from './upgraded-settings.ts';

/** Where something stands. */
interface Span {
  readonly from: number;
  readonly to: number;
}

interface Assignment {
  readonly key: string;
  /** More than one: a tuple without its parentheses. */
  readonly values: readonly SyntaxNode[];
  readonly statement: Span;
  /** The class in whose body it stands. */
  readonly scope: string | undefined;
  /** Said of an app, and no name of the module: `app.conf.key = ...`, `Celery(key=...)`. */
  readonly ofApp: boolean;
}

interface FoundSetting extends UpgradedSetting {
  readonly assignment: Assignment;
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

const ELSEWHERE = 'Settings of another module, or of another value, are not followed.';

/** Arguments of `Celery()` that are no settings. Source: celery/app/base.py. */
const APP_ARGUMENTS =
  /^(?:main|loader|amqp|events|log|control|set_as_current|tasks|fixups|task_cls|autofinalize|namespace|strict_typing)$/;

class PythonSettings {
  readonly #source: string;
  readonly #django: boolean;
  readonly #code: PythonCode;
  readonly #values: PythonValues;
  readonly #assignments: Assignment[] = [];
  readonly #others: SyntaxNode[] = [];
  /** How often a module-level name is given a value or changed, wherever that is. */
  readonly #changes = new Map<string, number>();
  /** Module-level names that settings refer to, in the order in which they must stand. */
  readonly #constants = new Map<string, Constant>();
  readonly #resolving = new Set<string>();
  readonly #classes = new Set<string>();
  readonly #settings: FoundSetting[] = [];
  readonly #todos: Todo[] = [];

  constructor(source: string, django: boolean) {
    this.#source = source.replaceAll('\r\n', '\n');
    this.#django = django;
    const resolve = (name: string): Constant | undefined => this.#resolve(name);
    this.#code = new PythonCode(this.#source, resolve);
    this.#values = new PythonValues(this.#source, resolve);
  }

  read(): UpgradedSettings {
    const tree = parser.parse(this.#source);
    this.#refuseErrors(tree);
    const statements = childrenOf(tree.topNode);
    for (const name of statements.flatMap((statement) => this.#changedIn(statement))) {
      this.#changes.set(name, (this.#changes.get(name) ?? 0) + 1);
    }
    this.#collect(statements, undefined);
    for (const assignment of this.#lastOnes()) this.#upgrade(assignment);
    for (const statement of this.#others) this.#mention(statement);
    const settings = this.#withoutRepeats(this.#agreeing()).map(({ assignment, ...setting }) =>
      !assignment.ofApp && this.#constants.has(setting.key)
        ? { ...setting, code: this.#fitted(setting.name, assignment.values, constantName(setting.key)) }
        : setting,
    );
    return {
      settings,
      todos: this.#todos.toSorted((a, b) => a.line - b.line),
      notes: this.#mixture(),
      preamble: this.#constants.size === 0 ? [] : [this.#declarations()],
      imports: this.#code.imports,
    };
  }

  #refuseErrors(tree: Tree): void {
    tree.iterate({
      enter: ({ type, from }) => {
        if (!type.isError) return;
        // What is missing at the end is missed where the text ends.
        const at = this.#source.slice(0, from).trimEnd().length;
        const line = this.#lineOf({ from: at, to: at });
        throw new CommandError(
          `Line ${line} is no Python that can be read: ${this.#source.split('\n')[line - 1]?.trim()}`,
          EXIT.failed,
        );
      },
    });
  }

  #changedIn(statement: SyntaxNode): readonly string[] {
    return changedNames(statement, (node) => this.#code.text(node));
  }

  #declarations(): string {
    return [...this.#constants.values()].map(({ name, code }) => `const ${name} = ${code};`).join('\n');
  }

  #collect(statements: readonly SyntaxNode[], scope: string | undefined): void {
    for (const statement of statements) {
      switch (statement.name) {
        case 'StatementGroup':
          this.#collect(childrenOf(statement), scope);
          break;
        case 'ClassDefinition': {
          const body = statement.getChild('Body');
          const name = statement.getChild('VariableName');
          if (name !== null) this.#classes.add(this.#code.text(name));
          this.#collect(
            body === null ? [] : childrenOf(body).filter((child) => child.name !== ':'),
            name === null ? scope : this.#code.text(name),
          );
          break;
        }
        case 'AssignStatement':
          this.#assign(statement, scope);
          break;
        case 'ExpressionStatement': {
          const [call] = childrenOf(statement);
          if (call === undefined || !(this.#update(call) || this.#app(call))) this.#others.push(statement);
          break;
        }
        default:
          this.#others.push(statement);
      }
    }
  }

  /** `A = 1`, `A: int = 1`, `A = B = 1`, `A = 1, 2`, `app.conf.a = 1`, `app.conf['a'] = 1`, `app = Celery(...)`. */
  #assign(statement: SyntaxNode, scope: string | undefined): void {
    const sides: SyntaxNode[][] = [[]];
    for (const part of childrenOf(statement)) {
      if (part.name === 'AssignOp') sides.push([]);
      else if (part.name !== 'TypeDef') sides.at(-1)?.push(part);
    }
    const values = sides.at(-1) as SyntaxNode[];
    const targets = sides.slice(0, -1);
    const [value] = values;
    if (targets.length > 0 && value !== undefined && this.#app(value)) return;
    const keys = targets.map(([target, ...more]) =>
      target === undefined || more.length > 0 ? undefined : this.#keyOf(target),
    );
    if (keys.includes(undefined)) {
      this.#others.push(statement);
      return;
    }
    for (const key of keys as { key: string; ofApp: boolean }[]) {
      this.#assignments.push({ ...key, values, statement, scope });
    }
  }

  #keyOf(target: SyntaxNode): { readonly key: string; readonly ofApp: boolean } | undefined {
    const text = this.#code.text(target);
    if (target.name === 'VariableName') return { key: text, ofApp: false };
    const [, dotted] = /^(?:\w+\.)*conf\.(\w+)$/.exec(text) ?? [];
    if (dotted !== undefined) return { key: dotted, ofApp: true };
    const [, quoted] = /^(?:\w+\.)*conf\[\s*(['"])(\w+)\1\s*\]$/.exec(text)?.slice(1) ?? [];
    return quoted === undefined ? undefined : { key: quoted, ofApp: true };
  }

  /** `app.conf.update(a=1)`, `app.conf.update({'a': 1})`. */
  #update(call: SyntaxNode): boolean {
    const callee = call.firstChild;
    if (call.name !== 'CallExpression' || !callee || !/(?:^|\.)conf\.update$/.test(this.#code.text(callee))) {
      return false;
    }
    this.#arguments(callee.nextSibling as SyntaxNode, ({ name }) => name === 'DictionaryExpression');
    return true;
  }

  /** `Celery('shop', broker='...')`. */
  #app(call: SyntaxNode): boolean {
    const callee = call.firstChild;
    if (call.name !== 'CallExpression' || !callee || !/(?:^|\.)Celery$/.test(this.#code.text(callee))) return false;
    let isFirst = true;
    this.#arguments(callee.nextSibling as SyntaxNode, () => {
      const wasFirst = isFirst;
      isFirst = false;
      return wasFirst;
    });
    return true;
  }

  /** Named arguments and the entries of dictionaries; `isKnown`: whether one without a name is understood. */
  #arguments(list: SyntaxNode, isKnown: (node: SyntaxNode) => boolean): void {
    const items = childrenOf(list);
    for (let at = 0; at < items.length; at++) {
      const item = items[at] as SyntaxNode;
      const value = items[at + 2];
      if (items[at + 1]?.name === 'AssignOp' && value !== undefined) {
        const key = this.#code.text(item);
        if (/^(?:changes|config_source)$/.test(key)) this.#todo({ from: item.from, to: value.to }, ELSEWHERE);
        else if (!APP_ARGUMENTS.test(key)) this.#give(key, item, value);
        at += 2;
        continue;
      }
      const spread = item.name === '**' ? items[++at] : undefined;
      const given = spread ?? item;
      if (given.name === 'DictionaryExpression') this.#entries(given);
      else if (given.name === 'CallExpression' && given.firstChild && this.#code.text(given.firstChild) === 'dict') {
        this.#arguments(given.firstChild.nextSibling as SyntaxNode, () => false);
      } else if (spread !== undefined || !isKnown(given)) this.#todo({ from: item.from, to: given.to }, ELSEWHERE);
    }
  }

  #entries(dictionary: SyntaxNode): void {
    const items = childrenOf(dictionary);
    for (let at = 0; at < items.length; ) {
      const item = items[at] as SyntaxNode;
      const value = items[at + 2];
      if (item.name === 'String' && items[at + 1]?.name === ':' && value !== undefined) {
        this.#give(readString(this.#code.text(item)), item, value);
        at += 3;
        continue;
      }
      const last = item.name === '**' ? items[at + 1] : value;
      this.#todo({ from: item.from, to: last?.to ?? item.to }, ELSEWHERE);
      at += item.name === '**' ? 2 : items.length;
    }
  }

  #give(key: string, { from }: SyntaxNode, value: SyntaxNode): void {
    const statement = { from, to: value.to };
    this.#assignments.push({ key, values: [value], statement, scope: undefined, ofApp: true });
  }

  /** Of those that give one name a value in one place: what Python goes by. */
  #lastOnes(): readonly Assignment[] {
    const isSame = (a: Assignment, b: Assignment): boolean =>
      a.key === b.key && a.scope === b.scope && a.ofApp === b.ofApp;
    return this.#assignments.filter((one, at) => !this.#assignments.slice(at + 1).some((later) => isSame(one, later)));
  }

  /** Which class is used is not known: where they disagree nobody wins. */
  #agreeing(): readonly FoundSetting[] {
    return this.#settings.filter((setting) => {
      const { name, code, assignment } = setting;
      const others = this.#settings.filter((other) => other.name === name && other.code !== code);
      const rivals = others.filter((other) => other.assignment.scope !== assignment.scope);
      if (rivals.length === 0) return true;
      const places = [setting, ...rivals].map((one) => one.assignment.scope ?? 'the module');
      this.#todo(assignment.statement, `${name} is not the same in ${[...new Set(places)].join(' and ')}.`);
      return false;
    });
  }

  #settingOf(key: string, ofApp: boolean): SettingName | undefined {
    // Django's own names are none of Celery's: TIME_ZONE, EMAIL_HOST ...
    if (this.#django && !ofApp && !/^(?:CELERY|BROKER)/.test(key)) return undefined;
    return settingNamed(key);
  }

  #upgrade(assignment: Assignment): void {
    const { key, values, statement, ofApp } = assignment;
    const name = this.#settingOf(key, ofApp);
    if (name === undefined) {
      if (!ofApp && (!looksLikeSetting(key) || (this.#django && !/^(?:CELERY|BROKER)/.test(key)))) return;
      const near = nearestName(key, [...SETTING_SPELLINGS.keys()]);
      this.#todo(statement, `There is no setting "${key}".${near}`);
      return;
    }
    try {
      const code = this.#fitted(name, values, this.#valueOf(values, WITH_OPTIONS.has(name)));
      const said = this.#said(values, code);
      const refusal = this.#possible(values)
        .map((value) => refusalOf(name, value, said))
        .find((reason) => reason !== undefined);
      if (refusal !== undefined) throw new Untranslatable(refusal);
      this.#settings.push({
        line: this.#lineOf(statement),
        key,
        name,
        code,
        comments: [...this.#commentsBefore(statement), ...this.#commentBehind(statement)],
        assignment,
      });
    } catch (error) {
      if (!(error instanceof Untranslatable)) throw error;
      this.#todo(statement, `${name}: ${error.message}`);
    }
  }

  /** The literals that it may be; undefined stands for what is known only when it runs. */
  #possible(values: readonly SyntaxNode[]): readonly unknown[] {
    const [value, ...more] = values;
    if (value === undefined || more.length > 0) return [this.#values.literals(values)];
    return [undefined, ...this.#values.possible(value)];
  }

  /** A constant is what stands for it. */
  #said([value, ...more]: readonly SyntaxNode[], code: string): string {
    const isName = value?.name === 'VariableName' && more.length === 0;
    return isName ? (this.#resolve(this.#code.text(value))?.code ?? code) : code;
  }

  /** What the environment says is text, which Python's own reader may take for a number; here a number is a number. */
  #fitted(name: SettingName, [value, ...more]: readonly SyntaxNode[], code: string): string {
    if (value === undefined || more.length > 0 || !this.#values.mayBeOfEnvironment(value)) return code;
    switch (meaningOfText(name)) {
      case 'text':
        return code;
      case 'flag':
        return `Boolean(${code})`;
      case 'other':
        throw new Untranslatable(`What the environment says is a text. Expected ${expectedOf(name)}.`);
      case 'number': {
        if (!this.#values.mayBeNone(value)) return `Number(${code})`;
        const read = code.replace(/ \?\? null$/, '');
        if (/^[\w$.]+(?:\['[^']*'\])?$/.test(read)) return `${read} ? Number(${read}) : ${nothingOf(name)}`;
        throw new Untranslatable(`It may be None, or a text that the environment says. Expected ${expectedOf(name)}.`);
      }
    }
  }

  #valueOf(values: readonly SyntaxNode[], renames: boolean): string {
    const [value] = values;
    if (value === undefined) throw new Untranslatable('It has no value.');
    return values.length === 1 ? this.#code.translate(value, { renames }) : this.#code.list(values);
  }

  #resolve(name: string): Constant | undefined {
    const known = this.#constants.get(name);
    if (known !== undefined) return known;
    const assignment = this.#assignments.find(({ key, ofApp }) => key === name && !ofApp);
    if (assignment === undefined || this.#resolving.has(name)) return undefined;
    if ((this.#changes.get(name) ?? 0) > 1) {
      throw new Untranslatable(`"${name}" is given a value, or changed, in more than one place.`);
    }
    this.#resolving.add(name);
    try {
      const { values } = assignment;
      const code = this.#valueOf(values, false);
      const constant = { name: constantName(name), code, value: values.length === 1 ? values[0] : undefined };
      this.#constants.set(name, constant);
      return constant;
    } finally {
      this.#resolving.delete(name);
    }
  }

  /** Of statements that are run only under a condition, or change what was set: if they speak of a setting. */
  #mention(statement: SyntaxNode): void {
    // Small letters are settings' names only where something is given to them.
    const names = new Set(this.#changedIn(statement).filter((name) => this.#settingOf(name, false) !== undefined));
    let elsewhere: string | undefined;
    statement.cursor().iterate(({ name, node }) => {
      const text = name === 'MemberExpression' || name === 'VariableName' ? this.#code.text(node) : '';
      if (name === 'ImportStatement') {
        if (node.lastChild?.name === '*') elsewhere ??= ELSEWHERE;
        return false;
      }
      if (name === 'MemberExpression' && /(?:^|\.)conf$/.test(text)) names.add(text);
      if (/^(?:globals|locals|vars|exec)$/.test(text) && node.parent?.name === 'CallExpression') names.add(`${text}()`);
      if (name === 'VariableName' && text !== text.toLowerCase() && this.#settingOf(text, false)) names.add(text);
      const callee = name === 'CallExpression' ? this.#code.text(node.firstChild as SyntaxNode) : '';
      if (/(?:^|\.)Celery$/.test(callee)) names.add('Celery()');
      if (/\.config_from_(?:object|envvar)$/.test(callee)) elsewhere ??= this.#sourceOf(node);
      return true;
    });
    if (elsewhere !== undefined) this.#todo(statement, elsewhere);
    else if (names.size > 0) this.#todo(statement, `${[...names].join(', ')} depends on more than a value.`);
  }

  /** Where `app.config_from_object(...)` takes settings from; undefined: from this module, which is read here. */
  #sourceOf(call: SyntaxNode): string | undefined {
    const [source] = childrenOf(call.lastChild as SyntaxNode).filter(({ name }) => name !== 'AssignOp');
    if (source === undefined) return ELSEWHERE;
    const text = this.#code.text(source);
    if (text === '__name__' || (source.name === 'VariableName' && this.#classes.has(text))) return undefined;
    const module = source.name === 'String' ? readString(text).split(':')[0] : text;
    return `Settings of ${module} are not followed: give its file to this command too.`;
  }

  #todo(statement: Span, reason: string): void {
    const { from, to } = statement;
    this.#todos.push({ line: this.#lineOf(statement), source: this.#source.slice(from, to).trimEnd(), reason });
  }

  #lineOf({ from }: Span): number {
    return this.#source.slice(0, from).split('\n').length;
  }

  #commentsBefore({ from }: Span): readonly string[] {
    const lines = this.#source.slice(0, from).split('\n').slice(0, -1);
    const comments: string[] = [];
    for (let line = lines.pop()?.trim(); line?.startsWith('#'); line = lines.pop()?.trim()) {
      comments.unshift(line.replace(/^#+ ?/, ''));
    }
    return comments;
  }

  #commentBehind({ to }: Span): readonly string[] {
    const [, comment] = /^,?[ \t]*#+ ?(.*)/.exec(this.#source.slice(to)) ?? [];
    return comment === undefined ? [] : [comment];
  }

  /** The last one holds, as in Python; of an old name and today's, which differ, nobody knows which. */
  #withoutRepeats(settings: readonly FoundSetting[]): readonly FoundSetting[] {
    return settings.filter((setting, at) => {
      const { name, key, code, assignment } = setting;
      const rivals = settings.filter(
        (other) => other.name === name && other.key !== key && other.code !== code && !other.assignment.ofApp,
      );
      if (assignment.ofApp || rivals.length === 0) return !settings.slice(at + 1).some((later) => later.name === name);
      const keys = [setting, ...rivals].map((one) => one.key);
      this.#todo(assignment.statement, `${[...new Set(keys)].join(' and ')} are one setting, with different values.`);
      return false;
    });
  }

  /** Celery refuses names of before 4.0 beside today's. Source: celery/app/utils.py, detect_settings. */
  #mixture(): readonly string[] {
    if (this.#django) return [];
    const keys = [...new Set(this.#settings.map(({ key }) => key))];
    const old = keys.filter((key) => key === key.toUpperCase());
    const today = keys.filter((key) => key === key.toLowerCase() && key.includes('_'));
    if (old.length === 0 || today.length === 0) return [];
    return [
      `Celery refuses a file with names of before 4.0 (${shortList(old)}) and today's (${shortList(today)}): see that none is a leftover.`,
    ];
  }
}

function shortList(names: readonly string[]): string {
  return names.length > 3 ? `${names.slice(0, 3).join(', ')} and ${names.length - 3} more` : names.join(', ');
}

/** Words that mean something in TypeScript get a mark. */
function constantName(name: string): string {
  return /^(?:default|new|var|let|const|function|switch|case|delete|typeof|void|enum|export|this|null|true|false)$/.test(
    name,
  )
    ? `${name}_`
    : name;
}
