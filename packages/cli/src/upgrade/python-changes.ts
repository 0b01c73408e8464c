import type { SyntaxNode } from '@lezer/common';

/** Methods by which a list, dict or set is changed in place. */
const MUTATORS =
  /^(?:append|extend|insert|remove|pop|popitem|clear|update|setdefault|add|discard|sort|reverse|move_to_end|(?:difference|intersection|symmetric_difference)_update)$/;

/**
 * The module's names that a statement gives a value, takes one from, or changes in place, each as often as it does so.
 * What a function binds is its own unless it says `global`.
 */
export function changedNames(statement: SyntaxNode, text: (node: SyntaxNode) => string): readonly string[] {
  const names: string[] = [];
  const visit = (node: SyntaxNode, isLocal: boolean): void => {
    for (const target of targetsOf(node, text)) {
      const root = rootOf(target);
      if (root !== undefined && (!isLocal || root !== target || node.name === 'ScopeStatement')) names.push(text(root));
    }
    const isFunction = node.name === 'FunctionDefinition' || node.name === 'LambdaExpression';
    for (const child of everyChildOf(node)) visit(child, isLocal || isFunction);
  };
  visit(statement, false);
  return names;
}

function targetsOf(node: SyntaxNode, text: (node: SyntaxNode) => string): readonly SyntaxNode[] {
  const children = everyChildOf(node);
  const upTo = (name: string): readonly SyntaxNode[] =>
    children.slice(0, children.findLastIndex((child) => child.name === name) + 1).flatMap(flattened);
  switch (node.name) {
    case 'AssignStatement':
      return upTo('AssignOp');
    case 'ForStatement':
      return upTo('in');
    case 'UpdateStatement':
    case 'NamedExpression':
      return children.slice(0, 1);
    case 'DeleteStatement':
    case 'ScopeStatement':
      return children.flatMap(flattened);
    case 'FunctionDefinition':
    case 'ClassDefinition':
    case 'CapturePattern':
      return node.getChildren('VariableName').slice(0, 1);
    case 'WithStatement':
    case 'TryStatement':
      return children.filter(({ prevSibling }) => prevSibling?.name === 'as').flatMap(flattened);
    case 'ImportStatement': {
      const start = node.getChild('import')?.to ?? node.to;
      return children.filter(
        ({ name, from, nextSibling }) => name === 'VariableName' && from >= start && nextSibling?.name !== 'as',
      );
    }
    case 'CallExpression': {
      const [callee] = children;
      const method = callee?.name === 'MemberExpression' ? callee.lastChild : null;
      return callee !== undefined && method?.name === 'PropertyName' && MUTATORS.test(text(method)) ? [callee] : [];
    }
    default:
      return [];
  }
}

/** `a, (b, *c)`: each of them. */
function flattened(node: SyntaxNode): readonly SyntaxNode[] {
  return /^(?:Tuple|Array|Parenthesized)Expression$/.test(node.name) ? everyChildOf(node).flatMap(flattened) : [node];
}

/** The name at the left of `a`, `a.b`, `a['b'].c`. */
function rootOf(target: SyntaxNode): SyntaxNode | undefined {
  let node: SyntaxNode | null = target;
  while (node?.name === 'MemberExpression') node = node.firstChild;
  return node?.name === 'VariableName' ? node : undefined;
}

function everyChildOf(node: SyntaxNode): readonly SyntaxNode[] {
  const children: SyntaxNode[] = [];
  for (let child = node.firstChild; child !== null; child = child.nextSibling) children.push(child);
  return children;
}
