import { basename } from 'node:path';
import { Argument, Command } from 'commander';
import { CommandError, EXIT } from '../exit-codes.ts';
import { commandNames } from './remote.ts';

const SHELLS = ['bash', 'zsh', 'fish'] as const;
type Shell = (typeof SHELLS)[number];

/** `lovage completion SHELL`: a script that completes verbs, options and their values. */
export function completionCommand(): Command {
  return new Command('completion')
    .description('Print a script that completes commands, options and their values in a shell')
    .addArgument(new Argument('[shell]', 'default: that of the variable SHELL').choices(SHELLS))
    .addHelpText(
      'after',
      `
Examples:
  source <(lovage completion bash)                         in ~/.bashrc
  source <(lovage completion zsh)                          in ~/.zshrc, after compinit
  lovage completion fish > ~/.config/fish/completions/lovage.fish`,
    )
    .action(async (given: Shell | undefined, _: unknown, command: Command) => {
      const script = await SCRIPTS[given ?? shellOf(process.env.SHELL)]();
      const { placesOf } = await import('../completion/words.ts');
      // The whole program is read for this verb.
      const places = placesOf(command.parent ?? command, (path) => {
        if (path === 'completion') return SHELLS;
        return path === 'inspect' || path === 'control' ? commandNames(path) : [];
      });
      process.stdout.write(script(places));
    });
}

const SCRIPTS = {
  bash: async () => (await import('../completion/bash.ts')).bashScript,
  zsh: async () => (await import('../completion/zsh.ts')).zshScript,
  fish: async () => (await import('../completion/fish.ts')).fishScript,
} as const;

function shellOf(path: string | undefined): Shell {
  const found = SHELLS.find((shell) => shell === basename(path ?? ''));
  if (found !== undefined) return found;
  throw new CommandError(`Which shell? Expected one of: ${SHELLS.join(', ')}.`, EXIT.usage);
}
