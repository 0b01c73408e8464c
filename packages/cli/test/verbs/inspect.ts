import { brokerFaults, unknownApp } from '../support/faults.ts';
import type { VerbRows } from '../support/verbs.ts';

const only = ['-d', 'verbs@here', '-t', '5'];

export default {
  inspect: [
    { args: ['inspect', 'ping', ...only], code: 0, out: '->  verbs@here: OK\n    pong\n\n1 node online.\n', err: '' },
    { args: ['inspect', 'registered', ...only], code: 0, out: /\* tasks\.add/ },
    { args: ['inspect', 'ping', ...only, '--json'], code: 0, out: '{"verbs@here":{"ok":"pong"}}\n', err: '' },
    { args: ['inspect', '--list'], code: 0, out: /^Commands:\n[^]*active_queues[^]*stats/ },
    { args: ['inspect', 'actve'], code: 2, out: '', err: /Command actve not recognized.*Did you mean "active"/ },
    { args: ['inspect', 'revoke'], code: 2, out: '', err: /Did you mean "lovage control revoke"/ },
    { args: ['inspect'], code: 2, out: '', err: /Which command\? Expected one of: active,/ },
    { args: ['inspect', 'ping', '-d', 'nobody@here', '-t', '0.2'], code: 69, err: /^Error: No nodes replied/ },
    ...brokerFaults('inspect', 'ping'),
    unknownApp('inspect', 'ping'),
  ],
} satisfies VerbRows;
