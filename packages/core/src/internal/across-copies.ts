/**
 * Lets `instanceof` of a class hold for instances that another installed copy of this package made: pnpm installs a copy
 * for each set of peers. `kind` is the name by which copies know the class. Classes that extend it are told apart as usual.
 */
export function acrossCopies(type: abstract new (...args: never[]) => object, kind: string): void {
  const mark = Symbol.for(`@lovage/${kind}`);
  Object.defineProperty(type.prototype, mark, { value: true });
  Object.defineProperty(type, Symbol.hasInstance, {
    value(this: unknown, value: unknown): boolean {
      if (this !== type) return Function.prototype[Symbol.hasInstance].call(this as () => void, value);
      return typeof value === 'object' && value !== null && (value as { [mark]?: unknown })[mark] === true;
    },
  });
}
