import type { SyntaxNode } from '@lezer/common';
import { callArguments, childrenOf, ENVIRONMENT, only } from './python-nodes.ts';
import { readNumber, readString } from './python-literals.ts';
import type { Resolve } from './python-code.ts';

/** What an expression of Python may come to, as far as that is known before it runs. */
export class PythonValues {
  readonly #source: string;
  readonly #resolve: Resolve;

  constructor(source: string, resolve: Resolve) {
    this.#source = source;
    this.#resolve = resolve;
  }

  /** The value of a literal, of one that a name stands for too; undefined for what is known only when it runs. */
  literal(node: SyntaxNode): unknown {
    switch (node.name) {
      case 'Number':
        return Number(readNumber(this.#text(node)).replaceAll('_', ''));
      case 'String':
        return readString(this.#text(node));
      case 'Boolean':
        return this.#text(node) === 'True';
      case 'None':
        return null;
      case 'ParenthesizedExpression':
        return this.literal(only(node));
      case 'VariableName': {
        const value = this.#resolve(this.#text(node))?.value;
        return value === undefined ? undefined : this.literal(value);
      }
      case 'UnaryExpression': {
        const [operator, operand] = childrenOf(node) as [SyntaxNode, SyntaxNode];
        const value = this.literal(operand);
        return this.#text(operator) === '-' && typeof value === 'number' ? -value : undefined;
      }
      case 'ArrayExpression':
      case 'TupleExpression':
      case 'SetExpression':
        return this.literals(childrenOf(node));
      case 'DictionaryExpression':
        return this.#literalObject(node);
      default:
        return undefined;
    }
  }

  /** The literals that it may come to: of a condition both, of a variable of the environment what stands for it. */
  possible(node: SyntaxNode): readonly unknown[] {
    switch (node.name) {
      case 'ParenthesizedExpression':
        return this.possible(only(node));
      case 'ConditionalExpression': {
        const [yes, , , , no] = childrenOf(node);
        return [yes, no].flatMap((branch) => (branch === undefined ? [] : this.possible(branch)));
      }
      case 'CallExpression': {
        const callee = node.firstChild;
        if (callee === null || !ENVIRONMENT.test(this.#text(callee))) return [];
        const { positional, named } = callArguments(callee.nextSibling as SyntaxNode, this.#source);
        const fallback = positional[1] ?? named.get('default');
        return fallback === undefined ? [] : this.possible(fallback);
      }
      default: {
        const value = this.literal(node);
        return value === undefined ? [] : [value];
      }
    }
  }

  /** Whether it may be a text of the environment when it runs. A constant is what stands for it. */
  mayBeOfEnvironment(node: SyntaxNode): boolean {
    switch (node.name) {
      case 'ParenthesizedExpression':
        return this.mayBeOfEnvironment(only(node));
      case 'VariableName': {
        const value = this.#resolve(this.#text(node))?.value;
        return value !== undefined && this.mayBeOfEnvironment(value);
      }
      case 'CallExpression':
        return node.firstChild !== null && ENVIRONMENT.test(this.#text(node.firstChild));
      case 'MemberExpression':
        return node.firstChild !== null && this.#text(node.firstChild).endsWith('environ');
      case 'BinaryExpression': {
        const [left, operator, right] = childrenOf(node);
        const isKept = operator !== undefined && /^(?:or|and|\+)$/.test(this.#text(operator));
        return isKept && [left, right].some((side) => side !== undefined && this.mayBeOfEnvironment(side));
      }
      case 'ConditionalExpression': {
        const [yes, , , , no] = childrenOf(node);
        return [yes, no].some((branch) => branch !== undefined && this.mayBeOfEnvironment(branch));
      }
      default:
        return false;
    }
  }

  /** Whether it may be None when it runs. */
  mayBeNone(node: SyntaxNode): boolean {
    switch (node.name) {
      case 'None':
        return true;
      case 'ParenthesizedExpression':
        return this.mayBeNone(only(node));
      case 'VariableName': {
        const value = this.#resolve(this.#text(node))?.value;
        return value !== undefined && this.mayBeNone(value);
      }
      case 'CallExpression': {
        const callee = node.firstChild;
        if (callee === null || !ENVIRONMENT.test(this.#text(callee))) return false;
        const { positional, named } = callArguments(callee.nextSibling as SyntaxNode, this.#source);
        const fallback = positional[1] ?? named.get('default');
        return fallback === undefined || this.mayBeNone(fallback);
      }
      case 'BinaryExpression': {
        const [left, operator, right] = childrenOf(node);
        const sides = operator !== undefined && this.#text(operator) === 'and' ? [left, right] : [right];
        return sides.some((side) => side !== undefined && this.mayBeNone(side));
      }
      case 'ConditionalExpression': {
        const [yes, , , , no] = childrenOf(node);
        return [yes, no].some((branch) => branch !== undefined && this.mayBeNone(branch));
      }
      default:
        return false;
    }
  }

  /** undefined when one of them is none. */
  literals(nodes: readonly SyntaxNode[]): readonly unknown[] | undefined {
    const values = nodes.map((node) => this.literal(node));
    return values.includes(undefined) ? undefined : values;
  }

  #literalObject(node: SyntaxNode): object | undefined {
    const items = childrenOf(node);
    const entries: [string, unknown][] = [];
    for (let at = 0; at < items.length; at += 3) {
      const [key, colon, value] = items.slice(at, at + 3);
      const said = value === undefined ? undefined : this.literal(value);
      if (key?.name !== 'String' || colon?.name !== ':' || said === undefined) return undefined;
      entries.push([readString(this.#text(key)), said]);
    }
    return Object.fromEntries(entries);
  }

  #text(node: SyntaxNode): string {
    return this.#source.slice(node.from, node.to);
  }
}
