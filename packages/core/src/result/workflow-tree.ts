import type { ResultBackend } from '../backend/contract.ts';
import type { AsyncResult } from './async-result.ts';

/**
 * The ids of the tasks of a workflow that have not ended as far as is known: those that its result names, and what they
 * have published, and what that has published. In a store that only the caller reads, those that its result names.
 */
export async function unended(result: AsyncResult, backend: ResultBackend): Promise<readonly string[]> {
  const tree = new Tree();
  tree.add(result);
  if (!backend.capabilities.shared) return tree.ids;
  const ended = new Set<string>();
  let looked = 0;
  while (looked < tree.ids.length) {
    const fresh = tree.ids.slice(looked);
    looked = tree.ids.length;
    for (const [index, meta] of (await backend.load(fresh)).entries()) {
      if (meta?.status === 'SUCCESS' || meta?.status === 'FAILURE') ended.add(fresh[index] as string);
      for (const child of meta?.children ?? []) tree.add(result.app.resultFromTuple(child));
    }
  }
  return tree.ids.filter((id) => !ended.has(id));
}

/** Tasks that are named by results. */
class Tree {
  readonly ids: string[] = [];
  /** What was gone through, and whether with what comes before it: a reference may leave that out. */
  readonly #seen = new Map<string, boolean>();

  /** Adds a result and all that it names: what comes before it, the members of a group, and what comes before those. */
  add(result: AsyncResult): void {
    const left = [result];
    for (let next = left.pop(); next !== undefined; next = left.pop()) {
      const { id, parent } = next;
      const seen = this.#seen.get(id);
      if (seen === true || (seen === false && parent === undefined)) continue;
      this.#seen.set(id, parent !== undefined);
      if (parent !== undefined) left.push(parent);
      if ('results' in next) left.push(...(next.results as readonly AsyncResult[]));
      else if (seen === undefined) this.ids.push(id);
    }
  }
}
