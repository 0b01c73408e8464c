import { describeError, PYTHON_TYPE, safeRepr, type PythonType } from '@lovage/core/protocol';

/** An error that answers of remote control show as Python shows its own: `ValueError('Autoscale not enabled')`. */
export class PythonError extends Error {
  readonly [PYTHON_TYPE]: PythonType;

  constructor(
    name: 'KeyError' | 'TypeError' | 'ValueError' | 'NotImplementedError' | 'PermissionError',
    message: string,
  ) {
    super(message);
    this.name = name;
    this[PYTHON_TYPE] = { name, module: 'builtins', args: [message] };
  }
}

/** As Python's `repr()` shows an exception. Source: kombu/pidbox.py, Node.dispatch. */
export function reprError(thrown: unknown): string {
  const { exc_type: type, exc_message: args } = describeError(thrown).info;
  return `${type}(${[args].flat().map(reprArgument).join(', ')})`;
}

function reprArgument(value: unknown): string {
  if (typeof value !== 'string' || !value.includes("'") || value.includes('"')) return safeRepr(value);
  // Python prefers quotes that need no backslash.
  return `"${safeRepr(value).slice(1, -1).replaceAll("\\'", "'")}"`;
}
