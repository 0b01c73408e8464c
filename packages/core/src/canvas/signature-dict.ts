/**
 * A signature as it travels in `link`, `chain`, `chord` and `group`: the data model of the canvas.
 * Source: celery/canvas.py, Signature.
 */
export interface SignatureDict {
  readonly task: string;
  readonly args: readonly unknown[];
  readonly kwargs: Readonly<Record<string, unknown>>;
  /** Apply options under Celery's names: `task_id`, `queue`, `countdown`, `link`, `link_error` ... */
  readonly options: Readonly<Record<string, unknown>>;
  readonly subtask_type: 'chain' | 'group' | 'chord' | 'xmap' | 'xstarmap' | 'chunks' | null;
  readonly immutable: boolean;
}
