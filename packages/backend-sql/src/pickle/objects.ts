/** A Python class or function, named in a pickle. Never looked up, never called. */
export class PickledGlobal {
  readonly module: string;
  readonly name: string;
  constructor(module: string, name: string) {
    this.module = module;
    this.name = name;
  }
  toString(): string {
    return `${this.module}.${this.name}`;
  }
}

/** What a pickle wants to be made by calling something: kept as data. */
export class PickledObject {
  readonly callable: PickledGlobal;
  readonly args: readonly unknown[];
  state: unknown;
  constructor(callable: PickledGlobal, args: readonly unknown[]) {
    this.callable = callable;
    this.args = args;
  }
}
