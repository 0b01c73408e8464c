import type { Flag, Place } from './words.ts';

/** A script for \`~/.config/fish/completions/lovage.fish\`. */
export function fishScript(places: readonly Place[]): string {
  const lines = places.flatMap(({ path, verbs, words, options }) => {
    const here = condition(
      path,
      verbs.map(({ name }) => name),
    );
    return [
      ...verbs.map(({ name, summary }) => `${here} -a ${name} -d ${quote(summary)}`),
      ...(words.length === 0 ? [] : [`${here} -a ${quote(words.join(' '))}`]),
      ...options.map((flag) => `${here} ${optionOf(flag)}`),
    ];
  });
  return `# Completion of lovage for fish: lovage completion fish > ~/.config/fish/completions/lovage.fish
complete -c lovage -f
${lines.join('\n')}
`;
}

function condition(path: string, verbs: readonly string[]): string {
  const seen = path.split(' ').filter((word) => word !== '');
  const tests = [
    ...seen.map((word) => `__fish_seen_subcommand_from ${word}`),
    ...(verbs.length === 0 ? [] : [`not __fish_seen_subcommand_from ${verbs.join(' ')}`]),
  ];
  return `complete -c lovage -n ${quote(tests.join('; and '))}`;
}

function optionOf({ names, summary, value }: Flag): string {
  const flags = names.map((name) => (name.startsWith('--') ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`));
  const takes =
    value === undefined
      ? []
      : value === 'file'
        ? ['-r -F']
        : value === 'other'
          ? ['-x']
          : [`-x -a ${quote(value.join(' '))}`];
  return [...flags, ...takes, `-d ${quote(summary)}`].join(' ');
}

function quote(text: string): string {
  return `'${text.replaceAll('\\', String.raw`\\`).replaceAll("'", String.raw`\'`)}'`;
}
