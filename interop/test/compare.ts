/** How one field of an answer relates to the same field of another program's answer. */
export interface FieldDifference {
  /** `pool.max-concurrency`, `[].id`. */
  readonly path: string;
  readonly kind: 'only in Celery' | 'only in Lovage' | 'another type';
}

export interface Comparison {
  /** Fields that are there in both, with values of one type. */
  readonly same: number;
  readonly differences: readonly FieldDifference[];
}

/** Compares the shape of two answers field by field; of lists the first items stand for all. */
export function compareShapes(celery: unknown, lovage: unknown, ignored: readonly string[] = []): Comparison {
  const differences: FieldDifference[] = [];
  let same = 0;
  const visit = (a: unknown, b: unknown, path: string): void => {
    if (ignored.some((prefix) => path === prefix || path.startsWith(`${prefix}.`))) return;
    if (Array.isArray(a) && Array.isArray(b)) {
      // A pair such as [state, info] is a record of its positions.
      if (a.length > 0 && b.length > 0) visit(a[0], b[0], `${path}[]`);
      else same++;
      return;
    }
    if (isRecord(a) && isRecord(b)) {
      for (const key of new Set([...Object.keys(a), ...Object.keys(b)])) {
        const inner = path === '' ? key : `${path}.${key}`;
        if (ignored.includes(inner)) continue;
        if (!Object.hasOwn(b, key)) differences.push({ path: inner, kind: 'only in Celery' });
        else if (!Object.hasOwn(a, key)) differences.push({ path: inner, kind: 'only in Lovage' });
        else visit(a[key], b[key], inner);
      }
      return;
    }
    if (typeOf(a) === typeOf(b)) same++;
    else differences.push({ path: path === '' ? 'the answer' : path, kind: 'another type' });
  };
  visit(celery, lovage, '');
  return { same, differences };
}

function typeOf(value: unknown): string {
  if (value === null) return 'null';
  return Array.isArray(value) ? 'list' : typeof value;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
