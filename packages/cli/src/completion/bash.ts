import type { Place, Value } from './words.ts';

/** A script for bash 3.2 and newer, which needs nothing else. */
export function bashScript(places: readonly Place[]): string {
  const after = (wanted: (value: Value) => boolean): string => patterns(places, wanted);
  const words = new Map<string, string[]>();
  for (const { path, options } of places) {
    for (const { names, value } of options) {
      if (typeof value !== 'object') continue;
      const list = value.join(' ');
      words.set(list, [...(words.get(list) ?? []), ...names.map((name) => quote(`${path} ${name}`))]);
    }
  }
  return `# Completion of lovage for bash: source <(lovage completion bash)
_lovage() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD-1]} at= words= i
  COMPREPLY=()
  if [[ $cur == '=' ]]; then cur=
  elif [[ $prev == '=' ]]; then prev=\${COMP_WORDS[COMP_CWORD-2]}
  fi
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "$at \${COMP_WORDS[i]}" in
      ${after(() => true)}) ((i++)) ;;
${places
  .filter(({ path }) => path !== '')
  .map(({ path }) => `      ${quote(path.includes(' ') ? path : ` ${path}`)}) at=${quote(path)} ;;`)
  .join('\n')}
    esac
  done
  case "$at $prev" in
${[...words].map(([list, flags]) => `    ${flags.join('|')}) words=${quote(list)} ;;`).join('\n')}
    ${after((value) => value === 'file')})
      compopt -o filenames 2>/dev/null
      while IFS= read -r i; do COMPREPLY+=("$i"); done < <(compgen -f -- "$cur")
      return ;;
    ${after((value) => value === 'other')}) return ;;
    *) case "$at" in
${places.map((place) => `      ${quote(place.path)}) words=${quote(typed(place).join(' '))} ;;`).join('\n')}
    esac ;;
  esac
  while IFS= read -r i; do COMPREPLY+=("$i"); done < <(compgen -W "$words" -- "$cur")
}
complete -F _lovage lovage
`;
}

function typed({ verbs, words, options }: Place): readonly string[] {
  return [...verbs.map(({ name }) => name), ...words, ...options.flatMap(({ names }) => names)];
}

/** The places at which a value follows, as patterns of \`case\`. */
function patterns(places: readonly Place[], wanted: (value: Value) => boolean): string {
  return places
    .flatMap(({ path, options }) =>
      options.flatMap(({ names, value }) =>
        value !== undefined && wanted(value) ? names.map((name) => quote(`${path} ${name}`)) : [],
      ),
    )
    .join('|');
}

export function quote(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
