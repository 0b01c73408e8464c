import type { SyntaxNode } from '@lezer/common';
import { parser } from '@lezer/javascript';
import { nearestName } from '@lovage/core';
import { SETTING_SPELLINGS } from '@lovage/core/settings';
import {
  looksLikeSetting,
  settingNamed,
  type Todo,
  type UpgradedSetting,
  type UpgradedSettings,
} from './upgraded-settings.ts';

/**
 * The settings of a TypeScript or JavaScript module: of its object with the most settings, or of its exports. Values and
 * whatever else the module has stay as they are written; it is parsed, never run.
 */
export function readScriptSettings(source: string): UpgradedSettings {
  const tree = parser.configure({ dialect: 'ts' }).parse(source);
  const objects: SyntaxNode[] = [];
  tree.iterate({
    enter: ({ name, node }) => {
      if (name === 'ObjectExpression') objects.push(node);
    },
  });
  const text = (node: SyntaxNode): string => source.slice(node.from, node.to);
  const count = (node: SyntaxNode): number =>
    propertiesOf(node).filter((property) => settingNamed(keyOf(property, text) ?? '') !== undefined).length;
  const [best] = objects.toSorted((a, b) => count(b) - count(a));
  const settings: UpgradedSetting[] = [];
  const todos: Todo[] = [];
  const lineOf = ({ from }: SyntaxNode): number => source.slice(0, from).split('\n').length;
  const add = (node: SyntaxNode, key: string | undefined, code: string): void => {
    const name = key === undefined ? undefined : settingNamed(key);
    const line = lineOf(node);
    if (name !== undefined) {
      settings.push({ line, key: key as string, name, code, comments: commentsBefore(source, node.from) });
    } else if (key === undefined) {
      todos.push({ line, source: text(node), reason: 'It is no plain setting.' });
    } else {
      todos.push({
        line,
        source: text(node),
        reason: `There is no setting "${key}".${nearestName(key, [...SETTING_SPELLINGS.keys()])}`,
      });
    }
  };
  const statements = childrenOf(tree.topNode);
  if (best !== undefined && count(best) > 0) {
    for (const property of propertiesOf(best)) {
      const key = keyOf(property, text);
      const value = valueOf(property);
      add(property, key, value === undefined ? (key ?? text(property)) : dedented(text(value), source, value.from));
    }
    const holder = statements.find(({ from, to }) => from <= best.from && best.to <= to);
    const isWhole = holder === undefined || isAllOf(best, holder, text);
    const kept = statements.filter((one) => one !== holder && (isWhole || one.to <= best.from));
    const notes = isWhole
      ? []
      : [`Line ${lineOf(holder)} is more than settings: what else it says, and what follows it, is not here.`];
    return { ...withoutRepeats(settings, todos), notes, preamble: kept.map(text), imports: new Map() };
  }
  const preamble: string[] = [];
  for (const statement of statements) {
    const [, key = '', value = ''] =
      /^(?:export\s+const|(?:module\.)?exports\.)\s*(\w+)\s*(?::[^=]+)?=\s*([^]*?);?\s*$/.exec(text(statement)) ?? [];
    if (settingNamed(key) !== undefined || looksLikeSetting(key)) add(statement, key, value);
    else preamble.push(text(statement));
  }
  return { ...withoutRepeats(settings, todos), notes: [], preamble, imports: new Map() };
}

/** The last one under a key holds, as in JavaScript; of several keys of one setting, which differ, nobody knows which. */
function withoutRepeats(
  settings: readonly UpgradedSetting[],
  todos: readonly Todo[],
): Pick<UpgradedSettings, 'settings' | 'todos'> {
  const last = settings.filter(({ key }, at) => !settings.slice(at + 1).some((later) => later.key === key));
  const rivalsOf = ({ name, code }: UpgradedSetting): readonly UpgradedSetting[] =>
    last.filter((other) => other.name === name && other.code !== code);
  const undecided = last.filter((setting) => rivalsOf(setting).length > 0);
  return {
    settings: last.filter(
      (setting, at) => !undecided.includes(setting) && last.findIndex(({ name }) => name === setting.name) === at,
    ),
    todos: [
      ...todos,
      ...undecided.map((setting) => ({
        line: setting.line,
        source: `${setting.key}: ${setting.code}`,
        reason: `${[...new Set([setting, ...rivalsOf(setting)].map(({ key }) => key))].join(' and ')} are one setting, with different values.`,
      })),
    ].toSorted((a, b) => a.line - b.line),
  };
}

function childrenOf(node: SyntaxNode): readonly SyntaxNode[] {
  const children: SyntaxNode[] = [];
  for (let child = node.firstChild; child !== null; child = child.nextSibling) {
    if (!child.name.endsWith('Comment') && child.name !== ';') children.push(child);
  }
  return children;
}

const AROUND =
  /^(?:ExportDeclaration|VariableDeclaration|ExpressionStatement|AssignmentExpression|ParenthesizedExpression|BinaryExpression)$/;

/** Whether the statement says nothing but that this object is the settings: `export default defineConfig({ ... })`. */
function isAllOf(object: SyntaxNode, statement: SyntaxNode, text: (node: SyntaxNode) => string): boolean {
  for (let node = object.parent; node !== null && node.from >= statement.from; node = node.parent) {
    if (node.name === 'Script') return true;
    const callee = node.name === 'ArgList' ? node.parent?.firstChild : undefined;
    if (callee && /^(?:defineConfig|Object\.freeze)$/.test(text(callee))) node = node.parent as SyntaxNode;
    else if (!AROUND.test(node.name)) return false;
  }
  return true;
}

function propertiesOf(object: SyntaxNode): readonly SyntaxNode[] {
  return childrenOf(object).filter(({ name }) => name === 'Property');
}

function keyOf(property: SyntaxNode, text: (node: SyntaxNode) => string): string | undefined {
  const key = property.firstChild;
  if (key === null || !['PropertyDefinition', 'String'].includes(key.name)) return undefined;
  return text(key).replace(/^['"]|['"]$/g, '');
}

/** undefined: a name that stands for itself. */
function valueOf(property: SyntaxNode): SyntaxNode | undefined {
  const colon = property.getChild(':');
  return colon?.nextSibling ?? undefined;
}

/** As if it stood at the margin. */
function dedented(code: string, source: string, from: number): string {
  const line = source.slice(source.lastIndexOf('\n', from - 1) + 1, from);
  const margin = /^\s*/.exec(line)?.[0] ?? '';
  return margin === '' ? code : code.replaceAll(`\n${margin}`, '\n');
}

function commentsBefore(source: string, from: number): readonly string[] {
  const lines = source.slice(0, from).split('\n').slice(0, -1);
  const comments: string[] = [];
  for (let line = lines.pop()?.trim(); line?.startsWith('//'); line = lines.pop()?.trim()) {
    comments.unshift(line.replace(/^\/\/ ?/, ''));
  }
  return comments;
}
