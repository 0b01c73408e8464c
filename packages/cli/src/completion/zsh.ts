import { quote } from './bash.ts';
import type { Place } from './words.ts';

/** A script that is both sourced and put into a folder of \`fpath\`. */
export function zshScript(places: readonly Place[]): string {
  const withValue = places.flatMap(({ path, options }) =>
    options.flatMap(({ names, value }) => (value === undefined ? [] : names.map((name) => quote(`${path} ${name}`)))),
  );
  return `#compdef lovage
# Completion of lovage for zsh: source <(lovage completion zsh)
_lovage() {
  local at= i
  local -a verbs options
  for ((i = 2; i < CURRENT; i++)); do
    case "$at $words[i]" in
      (${withValue.join('|')}) ((i++)) ;;
${places
  .filter(({ path }) => path !== '')
  .map(({ path }) => `      (${quote(path.includes(' ') ? path : ` ${path}`)}) at=${quote(path)} ;;`)
  .join('\n')}
    esac
  done
  case "$at $words[CURRENT-1]" in
${places
  .flatMap(({ path, options }) =>
    options.flatMap(({ names, value }) => {
      if (value === undefined) return [];
      const flags = names.map((name) => quote(`${path} ${name}`)).join('|');
      const act = value === 'file' ? '_files' : value === 'other' ? ':' : `compadd -- ${value.join(' ')}`;
      return [`    (${flags}) ${act}; return ;;`];
    }),
  )
  .join('\n')}
  esac
  case "$at" in
${places
  .map(
    ({ path, verbs, words, options }) => `    (${quote(path)})
      verbs=(${[...verbs.map(({ name, summary }) => described(name, summary)), ...words.map(quote)].join(' ')})
      options=(${options.flatMap(({ names, summary }) => names.map((name) => described(name, summary))).join(' ')}) ;;`,
  )
  .join('\n')}
  esac
  if [[ $PREFIX == -* || $#verbs == 0 ]]; then _describe -o option options
  else _describe command verbs
  fi
}
if [[ $funcstack[1] == _lovage ]]; then _lovage "$@"
else compdef _lovage lovage
fi
`;
}

function described(name: string, summary: string): string {
  return quote(`${name.replaceAll(':', String.raw`\:`)}:${summary}`);
}
