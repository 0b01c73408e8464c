/**
 * Options of this process that a child must not have: code that would run in its place, modes of the test runner and of
 * watching, a debugger's port, of which each must have one of its own, or none, and profiles, which would be written over
 * each other's and grow for as long as the child runs.
 */
const OWN =
  /^(?:-[eip]|-pe|--(?:eval|print|interactive|input-type|prof)(?:=.*)?|--(?:inspect|watch|test|cpu-prof|heap-prof)(?:[-=].*)?)$/s;

/** What another process with Node inherits of `process.execArgv`: a child of a pool, a worker in the background. */
export function inheritedOptions(execArgv: readonly string[]): string[] {
  let isKept = true;
  return execArgv.filter((argument) => {
    // What begins with no dash is the value of the option before it.
    if (argument.startsWith('-')) isKept = !OWN.test(argument);
    return isKept;
  });
}
