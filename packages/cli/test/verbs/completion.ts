import type { VerbRows } from '../support/verbs.ts';

export default {
  completion: [
    { args: ['completion', 'bash'], code: 0, out: /complete -F _lovage lovage\n$/, err: '' },
    { args: ['completion', 'zsh'], code: 0, out: /^#compdef lovage\n/, err: '' },
    { args: ['completion', 'fish'], code: 0, out: /^complete -c lovage .* -a worker/m, err: '' },
    { args: ['completion'], env: { SHELL: '/usr/bin/fish' }, code: 0, out: /for fish/, err: '' },
    { args: ['completion'], env: { SHELL: '/bin/sh' }, code: 2, out: '', err: /Which shell\? Expected one of: bash/ },
    { args: ['completion', 'powershell'], code: 2, out: '', err: /Allowed choices are bash, zsh, fish/ },
  ],
} satisfies VerbRows;
