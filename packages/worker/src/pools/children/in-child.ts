const KEY = Symbol.for('@lovage/pool-child');
const shared = globalThis as { [KEY]?: boolean };

/** Called before the app is loaded, so that a module that starts a worker by itself can be told. */
export function markChild(): void {
  shared[KEY] = true;
}

export function isInChild(): boolean {
  return shared[KEY] === true;
}
