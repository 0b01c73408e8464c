/**
 * Options of this process that a child must not have: code that would run in its place, modes of the test runner and of
 * watching, and a debugger's port, of which each must have one of its own, or none.
 */
const OWN = /^(?:-[eip]|-pe|--(?:eval|print|interactive|input-type)(?:=.*)?|--(?:inspect|watch|test)(?:[-=].*)?)$/s;

/** What a child process inherits of `process.execArgv`. */
export function inheritedOptions(execArgv: readonly string[]): string[] {
  let isKept = true;
  return execArgv.filter((argument) => {
    // What begins with no dash is the value of the option before it.
    if (argument.startsWith('-')) isKept = !OWN.test(argument);
    return isKept;
  });
}
