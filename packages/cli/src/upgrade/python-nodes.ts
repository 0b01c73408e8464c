import type { SyntaxNode } from '@lezer/common';
import { Untranslatable } from './python-literals.ts';

const PUNCTUATION = new Set(['(', ')', '[', ']', '{', '}', ',', 'Comment']);

/** What reads a variable of the environment. */
export const ENVIRONMENT = /(?:^|\.)environ\.get$|(?:^|\.)getenv$|^(?:env|config)$/;

/** Without punctuation and comments; colons, stars and operators stay. */
export function childrenOf(node: SyntaxNode): readonly SyntaxNode[] {
  const children: SyntaxNode[] = [];
  for (let child = node.firstChild; child !== null; child = child.nextSibling) {
    if (!PUNCTUATION.has(child.name)) children.push(child);
  }
  return children;
}

export function only(node: SyntaxNode): SyntaxNode {
  return one(childrenOf(node), node.name);
}

export function one(nodes: readonly SyntaxNode[], what: string): SyntaxNode {
  const [node] = nodes;
  if (node === undefined || nodes.length > 1)
    throw new Untranslatable(`${what} of ${nodes.length} values is not known.`);
  return node;
}

/** Those of a call, by place and by name. */
export function callArguments(
  list: SyntaxNode,
  source: string,
): {
  readonly positional: readonly SyntaxNode[];
  readonly named: ReadonlyMap<string, SyntaxNode>;
} {
  const items = childrenOf(list);
  const positional: SyntaxNode[] = [];
  const named = new Map<string, SyntaxNode>();
  for (let at = 0; at < items.length; at++) {
    const item = items[at] as SyntaxNode;
    if (item.name === '*' || item.name === '**') throw new Untranslatable('Spread arguments have no counterpart.');
    if (items[at + 1]?.name === 'AssignOp') {
      named.set(source.slice(item.from, item.to), items[at + 2] as SyntaxNode);
      at += 2;
    } else positional.push(item);
  }
  return { positional, named };
}
