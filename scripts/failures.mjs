// What the output of a failed step says of the failure, in few lines: many who read a report see its end alone.
import { stripVTControlCharacters } from 'node:util';

const WIDTH = 200;

/** Vitest's failed tests, each with its error; of other programs the last lines, and the error that ended them. */
export function whatFailed(output, most) {
  const lines = stripVTControlCharacters(output)
    .split(/\r?\n/)
    .map((line) => line.trimEnd());
  const failed = failedTests(lines);
  if (failed.length === 0) return lastOf(lines.filter(Boolean), most).map(cut);
  const said = failed.flatMap(({ test, error }) => [`FAIL ${test}`, ...(error === '' ? [] : [`  ${error}`])]);
  const all = said.length <= most ? said : [...said.slice(0, most - 1), `... ${failed.length} failures in all`];
  return all.map(cut);
}

function lastOf(lines, most) {
  const last = lines.slice(-most);
  const error = lines.findLast((line) => /^\w*Error\b.*: /.test(line));
  return error === undefined || last.includes(error) ? last : [error, ...last.slice(1)];
}

/** What Vitest lists at the end of its run: several names may share the error that follows them. */
function failedTests(lines) {
  const found = [];
  lines.forEach((line, index) => {
    const test = /^ *FAIL +(.+)$/.exec(line)?.[1] ?? /^⎯+ *(Unhandled (?!Errors)[A-Z]\w+) *⎯+$/.exec(line)?.[1];
    if (test !== undefined) found.push({ test, error: errorAfter(lines, index + 1) });
  });
  return found;
}

/** From the error's name to the place where it was thrown. */
function errorAfter(lines, index) {
  const end = lines.findIndex((line, at) => at >= index && /^ *(❯|⎯|FAIL )/.test(line));
  return lines
    .slice(index, end < 0 ? undefined : end)
    .map((line) => line.trim())
    .filter(Boolean)
    .join(' ');
}

function cut(line) {
  return line.length <= WIDTH ? line : `${line.slice(0, WIDTH - 1)}…`;
}
