import { type Command, Option } from 'commander';
import { CommandError, EXIT } from './exit-codes.ts';

/** Flags of Celery's command that are none here, with what serves instead. Not in the help; used, they say it. */
export type LeftToOthers = Readonly<Record<string, string>>;

export const OF_PYTHON: LeftToOthers = {
  '--loader <class>': 'It is a class of Python. Give the app with -A, or settings in lovage.config.ts.',
  '--skip-checks': 'There are no checks of Django to skip.',
};

export function leaveToOthers(command: Command, flags: LeftToOthers): Command {
  for (const [text, reason] of Object.entries(flags)) {
    const option = new Option(text).hideHelp();
    command.addOption(option).on(`option:${option.name()}`, () => {
      throw new CommandError(`${option.long} is not for this command. ${reason}`, EXIT.usage);
    });
  }
  return command;
}
