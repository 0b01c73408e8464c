import type { SyntaxNode } from '@lezer/common';
import { readNumber, readString, unescape, Untranslatable } from './python-literals.ts';
import { callArguments, childrenOf, ENVIRONMENT, one, only } from './python-nodes.ts';
import { quoted } from './upgraded-settings.ts';

/** A module-level name, as TypeScript has it, and what stands for it. */
export interface Constant {
  readonly name: string;
  readonly code: string;
  /** undefined: several values at once. */
  readonly value: SyntaxNode | undefined;
}

/** The constant of a name, if it has one value that can be said in TypeScript. */
export type Resolve = (name: string) => Constant | undefined;

/** Seconds by the names that `timedelta` has for its parts, in its order. Source: Python, datetime.timedelta. */
const DELTA_SECONDS: Readonly<Record<string, number>> = {
  days: 86_400,
  seconds: 1,
  microseconds: 0.000_001,
  milliseconds: 0.001,
  minutes: 60,
  hours: 3600,
  weeks: 604_800,
};
const CRONTAB = ['minute', 'hour', 'day_of_week', 'day_of_month', 'month_of_year'];
const COMPARISON = /^(?:[<>]=?|[=!]=)$/;
const QUEUE = ['name', 'exchange', 'routing_key', 'channel', 'bindings'];

/** Keys of queues, routes, retry policies and calls: elsewhere a key is somebody's own. */
const OPTION_KEYS = new Set(
  `routing_key binding_key exchange_type auto_delete delivery_mode no_ack no_declare queue_arguments exchange_arguments
  binding_arguments consumer_arguments queue_durable exchange_durable queue_auto_delete exchange_auto_delete message_ttl
  max_length max_length_bytes max_priority time_limit soft_time_limit ignore_result task_id link_error retry_policy
  reply_to max_retries interval_start interval_step interval_max`.split(/\s+/),
);
/** Below these everything is somebody's own. */
const OWN_KEYS = /^(?:args|kwargs|headers)$|[aA]rguments$/;

/** Turns expressions of Python into TypeScript, without running anything. Throws {@link Untranslatable}. */
export class PythonCode {
  readonly imports = new Map<string, Set<string>>();
  readonly #source: string;
  readonly #resolve: Resolve;
  /** Whether keys are options of ours. */
  #renames = false;

  constructor(source: string, resolve: Resolve) {
    this.#source = source;
    this.#resolve = resolve;
  }

  /** `renames`: keys of options, such as `routing_key`, get their names of here. */
  translate(node: SyntaxNode, { renames = false }: { readonly renames?: boolean } = {}): string {
    this.#renames = renames;
    return this.#code(node);
  }

  text(node: SyntaxNode): string {
    return this.#source.slice(node.from, node.to);
  }

  #code(node: SyntaxNode): string {
    switch (node.name) {
      case 'Number':
        return readNumber(this.text(node));
      case 'String':
        return quoted(readString(this.text(node)));
      case 'ContinuedString':
        return this.#continued(node);
      case 'FormatString':
        return this.#format(node);
      case 'Boolean':
        return this.text(node) === 'True' ? 'true' : 'false';
      case 'None':
        return 'null';
      case 'VariableName':
        return this.#name(this.text(node));
      case 'ParenthesizedExpression':
        return `(${this.#code(only(node))})`;
      case 'ArrayExpression':
      case 'TupleExpression':
      case 'SetExpression':
        return this.list(childrenOf(node));
      case 'DictionaryExpression':
        return this.#dictionary(node);
      case 'UnaryExpression':
        return this.#unary(node);
      case 'BinaryExpression':
        return this.#binary(node);
      case 'ConditionalExpression':
        return this.#conditional(node);
      case 'MemberExpression':
        return this.#member(node);
      case 'CallExpression':
        return this.#call(node);
      default:
        throw new Untranslatable(`${node.name} has no counterpart.`);
    }
  }

  list(items: readonly SyntaxNode[]): string {
    const codes: string[] = [];
    for (let at = 0; at < items.length; at++) {
      const item = items[at] as SyntaxNode;
      if (item.name === '*') codes.push(`...${this.#code(items[++at] as SyntaxNode)}`);
      else codes.push(this.#code(item));
    }
    return fit('[', codes, ']');
  }

  #name(name: string): string {
    const constant = this.#resolve(name);
    if (constant === undefined) throw new Untranslatable(`"${name}" is not known here.`);
    return constant.name;
  }

  #continued(node: SyntaxNode): string {
    const parts = childrenOf(node);
    if (parts.every(({ name }) => name === 'String')) {
      return quoted(parts.map((part) => readString(this.text(part))).join(''));
    }
    return `(${parts.map((part) => this.#code(part)).join(' + ')})`;
  }

  #format(node: SyntaxNode): string {
    const text = this.text(node);
    const [all, prefix = '', quote = ''] = /^([A-Za-z]*)("""|'''|"|')/.exec(text) ?? [''];
    const isRaw = /r/i.test(prefix);
    let code = '';
    let from = node.from + all.length;
    const literal = (to: number): string =>
      unescape(this.#source.slice(from, to), isRaw)
        .replaceAll('{{', '{')
        .replaceAll('}}', '}')
        .replace(/[\\`]|\$\{/g, '\\$&')
        .replaceAll('\n', '\\n');
    for (const part of childrenOf(node)) {
      if (part.name !== 'FormatReplacement') continue;
      const [value, ...more] = childrenOf(part);
      if (value === undefined || more.length > 0) throw new Untranslatable('A format has no counterpart.');
      code += `${literal(part.from)}\${${this.#code(value)}}`;
      from = part.to;
    }
    return `\`${code}${literal(node.to - quote.length)}\``;
  }

  #dictionary(node: SyntaxNode): string {
    const items = childrenOf(node);
    const entries: string[] = [];
    for (let at = 0; at < items.length; ) {
      const item = items[at] as SyntaxNode;
      if (item.name === '**') {
        entries.push(`...${this.#code(items[at + 1] as SyntaxNode)}`);
        at += 2;
        continue;
      }
      const value = items[at + 2];
      if (items[at + 1]?.name !== ':' || value === undefined) {
        throw new Untranslatable('A comprehension has no counterpart.');
      }
      entries.push(this.#entry(item, value));
      at += 3;
    }
    return fit('{ ', entries, ' }');
  }

  #entry(key: SyntaxNode, value: SyntaxNode): string {
    if (key.name !== 'String') return `[${this.#code(key)}]: ${this.#code(value)}`;
    const name = readString(this.text(key));
    return this.#named(name, value);
  }

  #named(given: string, value: SyntaxNode): string {
    const renamed = this.#renames;
    const name = renamed && OPTION_KEYS.has(given) ? camel(given) : given;
    this.#renames = renamed && !OWN_KEYS.test(given);
    try {
      return `${propertyName(name)}: ${this.#code(value)}`;
    } finally {
      this.#renames = renamed;
    }
  }

  #unary(node: SyntaxNode): string {
    const [operator, operand] = childrenOf(node) as [SyntaxNode, SyntaxNode];
    const sign = this.text(operator);
    return sign === 'not' ? this.#not(operand) : `${sign}${atom(this.#code(operand))}`;
  }

  /** The parser takes `not a and b` for `not (a and b)`; Python means the first operand only. */
  #not(operand: SyntaxNode): string {
    const [left, operator, right] = childrenOf(operand);
    const sign = operator === undefined ? '' : this.text(operator);
    if (operand.name === 'BinaryExpression' && left && right && /^(?:and|or)$/.test(sign)) {
      return `${this.#not(left)} ${sign === 'and' ? '&&' : '||'} ${grouped(this.#code(right))}`;
    }
    if (operand.name === 'UnaryExpression' && left && this.text(left) === 'not') {
      throw new Untranslatable('"not not" has no counterpart.');
    }
    return `!${atom(this.#code(operand))}`;
  }

  #binary(node: SyntaxNode): string {
    const [left, operator, ...rest] = childrenOf(node) as [SyntaxNode, SyntaxNode, SyntaxNode];
    const right = rest.at(-1) as SyntaxNode;
    const sign = this.text(operator);
    if (sign === 'in' && this.text(right).endsWith('environ')) return `${this.#code(left)} in process.env`;
    const [a, b] = [left, right].map((node) => grouped(this.#code(node))) as [string, string];
    if (rest.length > 1) throw new Untranslatable(`"${sign}" has no counterpart.`);
    const kinds = [this.#kindOf(left, a), this.#kindOf(right, b)];
    if (/^(?:-|\*\*?|\/\/?)$/.test(sign) && kinds.some((kind) => kind !== undefined)) {
      throw new Untranslatable(`"${sign}" of texts or lists has no counterpart.`);
    }
    if (COMPARISON.test(sign) && [left, right].some((side) => this.#isComparison(side))) {
      throw new Untranslatable('A chain of comparisons has no counterpart.');
    }
    switch (sign) {
      case '+':
        if (kinds.includes('list')) return fit('[', [...itemsOf(a), ...itemsOf(b)], ']');
        return `${a} + ${b}`;
      case '-':
      case '*':
      case '/':
      case '**':
      case '<':
      case '>':
      case '<=':
      case '>=':
        return `${a} ${sign} ${b}`;
      case '%':
        if (left.name === 'Number') return `${a} % ${b}`;
        throw new Untranslatable('A format has no counterpart.');
      case '//':
        return `Math.floor(${a} / ${b})`;
      case '==':
      case '!=':
        return `${a} ${sign}= ${b}`;
      case 'or':
        return `${a} || ${b}`;
      case 'and':
        return `${a} && ${b}`;
      default:
        throw new Untranslatable(`"${sign}" has no counterpart.`);
    }
  }

  /** A constant is what stands for it. */
  #kindOf(node: SyntaxNode, code: string): 'list' | 'text' | undefined {
    const said = node.name === 'VariableName' ? (this.#resolve(this.text(node))?.code ?? code) : code;
    return isList(said) ? 'list' : /^['"`]/.test(said) ? 'text' : undefined;
  }

  #isComparison(node: SyntaxNode): boolean {
    const [, operator] = node.name === 'BinaryExpression' ? childrenOf(node) : [];
    return operator !== undefined && COMPARISON.test(this.text(operator));
  }

  #conditional(node: SyntaxNode): string {
    const [yes, , test, , no] = childrenOf(node) as [SyntaxNode, SyntaxNode, SyntaxNode, SyntaxNode, SyntaxNode];
    return `${this.#code(test)} ? ${this.#code(yes)} : ${this.#code(no)}`;
  }

  #member(node: SyntaxNode): string {
    const [object, bracket, key] = [
      node.firstChild,
      node.firstChild?.nextSibling,
      node.firstChild?.nextSibling?.nextSibling,
    ];
    if (bracket?.name === '[' && key && this.text(object as SyntaxNode).endsWith('environ')) {
      return `process.env${property(this.#code(key))}`;
    }
    const text = this.text(node);
    // What Python's ssl has as constants is known by name.
    if (/^ssl\.CERT_\w+$/.test(text)) return quoted(text.slice(4));
    throw new Untranslatable(`"${text}" is not known here.`);
  }

  #call(node: SyntaxNode): string {
    const callee = node.firstChild as SyntaxNode;
    const path = this.text(callee);
    const { positional, named } = callArguments(callee.nextSibling as SyntaxNode, this.#source);
    const name = path.split('.').at(-1) as string;
    if (ENVIRONMENT.test(path)) return this.#environment(positional, named);
    switch (name) {
      case 'int':
      case 'float':
        return this.#number(name, this.#code(one(positional, path)));
      case 'str':
        return `String(${this.#code(one(positional, path))})`;
      case 'bool':
        return `Boolean(${this.#code(one(positional, path))})`;
      case 'list':
      case 'tuple':
      case 'set':
      case 'frozenset':
        return positional.length === 0 ? '[]' : this.#code(one(positional, path));
      case 'dict':
        if (positional.length > 0) throw new Untranslatable(`dict() of a value has no counterpart.`);
        return fit(
          '{ ',
          [...named].map(([key, value]) => this.#named(key, value)),
          ' }',
        );
      case 'timedelta':
        return this.#delta(positional, named);
      case 'crontab':
        return this.#crontab(positional, named);
      case 'schedule':
        return this.#code(named.get('run_every') ?? one(positional, path));
      case 'solar':
        return this.#solar(positional, named);
      case 'Queue':
        return this.#options(QUEUE, positional, named);
      case 'Exchange':
        return this.#options(['name', 'type'], positional, named);
      case 'Broadcast':
        return this.#options(['name'], positional, named, ['broadcast: true']);
      case 'binding':
        return this.#options(['exchange', 'routing_key'], positional, named);
      default:
        throw new Untranslatable(`"${path}(...)" is not known here.`);
    }
  }

  /** `int` drops what stands behind the point. */
  #number(name: 'int' | 'float', code: string): string {
    const mayHavePoint = /[*/]|\d\.\d/.test(code);
    return name === 'int' && mayHavePoint ? `Math.trunc(Number(${code}))` : `Number(${code})`;
  }

  /** By their names, in the order in which Python takes them by place. */
  #options(
    places: readonly string[],
    positional: readonly SyntaxNode[],
    named: ReadonlyMap<string, SyntaxNode>,
    extra: readonly string[] = [],
  ): string {
    if (positional.length > places.length) throw new Untranslatable('There are more arguments than are known here.');
    const all = new Map([...positional.map((node, at) => [places[at] as string, node] as const), ...named]);
    all.delete('channel');
    const renamed = this.#renames;
    this.#renames = true;
    try {
      const entries = [...all].map(
        ([key, node]) => `${camel(key)}: ${OWN_KEYS.test(camel(key)) ? this.#own(node) : this.#code(node)}`,
      );
      return fit('{ ', [...entries, ...extra], ' }');
    } finally {
      this.#renames = renamed;
    }
  }

  #own(node: SyntaxNode): string {
    this.#renames = false;
    try {
      return this.#code(node);
    } finally {
      this.#renames = true;
    }
  }

  #environment(positional: readonly SyntaxNode[], named: ReadonlyMap<string, SyntaxNode>): string {
    const [name, fallback = named.get('default')] = positional;
    if (name === undefined || positional.length > 2 || [...named.keys()].some((key) => key !== 'default')) {
      throw new Untranslatable('It is read from the environment in a way that is not known here.');
    }
    const variable = `process.env${property(this.#code(name))}`;
    return fallback === undefined ? variable : `${variable} ?? ${atom(this.#code(fallback))}`;
  }

  /** Times are seconds here. */
  #delta(positional: readonly SyntaxNode[], named: ReadonlyMap<string, SyntaxNode>): string {
    const names = Object.keys(DELTA_SECONDS);
    const parts = [...positional.map((node, at) => [names[at] ?? '', node] as const), ...named];
    let total = 0;
    const codes: string[] = [];
    for (const [name, node] of parts) {
      const unit = DELTA_SECONDS[name];
      if (unit === undefined) throw new Untranslatable(`timedelta has no "${name}".`);
      const code = this.#code(node);
      const value = Number(code.replaceAll('_', ''));
      if (Number.isNaN(value)) codes.push(`${atom(code)} * ${unit}`);
      else total += value * unit;
    }
    if (codes.length === 0) return String(Number(total.toFixed(6)));
    return `(${[...codes, ...(total === 0 ? [] : [total])].join(' + ')})`;
  }

  #crontab(positional: readonly SyntaxNode[], named: ReadonlyMap<string, SyntaxNode>): string {
    const all = [...positional.map((node, at) => [CRONTAB[at] ?? '', node] as const), ...named];
    const entries = all.map(([name, node]) => {
      if (!CRONTAB.includes(name)) throw new Untranslatable(`crontab's "${name}" has no counterpart.`);
      return `${camel(name)}: ${this.#code(node)}`;
    });
    this.#import('@lovage/core', 'crontab');
    return entries.length === 0 ? 'crontab()' : `crontab(${fit('{ ', entries, ' }')})`;
  }

  #solar(positional: readonly SyntaxNode[], named: ReadonlyMap<string, SyntaxNode>): string {
    const [event, latitude, longitude] = ['event', 'lat', 'lon'].map((name, at) => positional[at] ?? named.get(name));
    if (event === undefined || latitude === undefined || longitude === undefined || positional.length > 3) {
      throw new Untranslatable('solar() takes an event, a latitude and a longitude.');
    }
    this.#import('@lovage/beat', 'solar');
    return `solar(${[event, latitude, longitude].map((node) => this.#code(node)).join(', ')})`;
  }

  #import(module: string, name: string): void {
    const names = this.imports.get(module) ?? new Set();
    this.imports.set(module, names.add(name));
  }
}

/** TypeScript does not mix `??` with other operators, and a condition binds more loosely than any. */
function grouped(code: string): string {
  return /\s\?\??\s/.test(outside(code)) ? `(${code})` : code;
}

/** In parentheses unless nothing around it can part it. */
function atom(code: string): string {
  return /^[!-]|\s/.test(outside(code)) ? `(${code})` : code;
}

/** Without what stands in brackets and quotes. */
function outside(code: string): string {
  let text = '';
  let depth = 0;
  for (const [part] of code.matchAll(/'(?:[^'\\]|\\[^])*'|`(?:[^`\\]|\\[^])*`|[^]/g)) {
    if (/^[([{]$/.test(part)) depth++;
    if (depth === 0) text += part.length > 1 ? "''" : part;
    if (/^[)\]}]$/.test(part)) depth--;
  }
  return text;
}

function isList(code: string): boolean {
  return code.startsWith('[') && outside(code) === '';
}

/** A list that ends where it begins is joined, another thing spread. */
function itemsOf(code: string): readonly string[] {
  if (!isList(code)) return [`...${code}`];
  const items = code.slice(1, -1).trim().replace(/,$/, '');
  return items === '' ? [] : [items];
}

function camel(name: string): string {
  return name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

function propertyName(name: string): string {
  return /^[A-Za-z_$][\w$]*$/.test(name) ? name : quoted(name);
}

function property(key: string): string {
  const [, name] = /^'([A-Za-z_]\w*)'$/.exec(key) ?? [];
  return name === undefined ? `[${key}]` : `.${name}`;
}

const WIDTH = 100;

/** On one line if it is short, else an entry a line. */
function fit(open: string, entries: readonly string[], close: string): string {
  if (entries.length === 0) return `${open.trim()}${close.trim()}`;
  const line = `${open}${entries.join(', ')}${close}`;
  if (line.length <= WIDTH && !line.includes('\n')) return line;
  return `${open.trim()}\n${entries.map((entry) => `${entry.replace(/^(?=.)/gm, '  ')},`).join('\n')}\n${close.trim()}`;
}
