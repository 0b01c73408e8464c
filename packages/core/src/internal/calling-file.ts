import { isAbsolute } from 'node:path';
import { fileURLToPath } from 'node:url';

// The type of a constructor or method whose signature does not matter here.
type AnyFunction = (...args: never[]) => unknown;

/** The file of the code that called `callee`; undefined where no file did, as at a prompt. */
export function callingFile(callee: AnyFunction): string | undefined {
  // oxlint-disable-next-line typescript/unbound-method -- only to put it back
  const { prepareStackTrace, stackTraceLimit } = Error;
  const trace: { stack?: unknown } = {};
  try {
    Error.stackTraceLimit = 8;
    Error.prepareStackTrace = (_, sites) => sites;
    Error.captureStackTrace(trace, callee);
    for (const site of trace.stack as NodeJS.CallSite[]) {
      const file = toPath(site.getFileName());
      if (file !== undefined) return file;
    }
  } finally {
    Error.prepareStackTrace = prepareStackTrace;
    Error.stackTraceLimit = stackTraceLimit;
  }
  return undefined;
}

function toPath(name: string | null | undefined): string | undefined {
  if (name?.startsWith('file:')) return fileURLToPath(name);
  return name != null && isAbsolute(name) ? name : undefined;
}
