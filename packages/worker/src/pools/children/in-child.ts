const KEY = Symbol.for('@lovage/pool-child');
const shared = globalThis as { [KEY]?: boolean };

/** Called before the app is loaded, so that a module that starts a worker by itself can be told. */
export function markChild(): void {
  shared[KEY] = true;
}

/** True in a child of a worker's pool, which loads the app to run tasks that its parent gives it. */
export function isInChild(): boolean {
  return shared[KEY] === true;
}
