import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brokerFaults, unknownApp } from '../support/faults.ts';
import type { VerbCase, VerbRows } from '../support/verbs.ts';

/** Its end, as a person and as a process manager ask for it. */
const stop: VerbCase['act'] = async (running, { terminal }) => {
  await running.said(/"?heartbeat|worker heartbeat/, 'out');
  if (terminal) running.type('\x03');
  else running.child.kill('SIGTERM');
};

export default {
  events: [
    {
      args: ['events', '--dump'],
      act: stop,
      code: 0,
      out: /^verbs@here \[.*\] worker heartbeat .*sw_ident=lovage/m,
      err: '',
    },
    {
      args: ['events', '--json'],
      act: stop,
      code: 0,
      out: /^\{"type":"worker-heartbeat"|"type":"worker-heartbeat"/m,
      err: '',
    },
    {
      title: 'without a terminal as --dump, else a live view',
      args: ['events'],
      act: async (running, { terminal }) => {
        await running.said(terminal ? /● verbs@here/ : /worker heartbeat/, 'out');
        if (terminal) running.type('q');
        else running.child.kill('SIGINT');
      },
      code: 0,
      piped: { out: /^verbs@here / },
      terminal: { out: /lovage events {3}1 workers online[^]*q quit/ },
      err: '',
    },
    {
      title: 'a camera',
      args: ['events', '-c', './camera.mjs', '-F', '0.3'],
      before: ({ folder }) =>
        writeFileSync(
          join(folder, 'camera.mjs'),
          'export default (state, app) => console.log(app.name, [...state.workers.keys()].join());\n',
        ),
      act: async (running) => {
        await running.said(/shop verbs@here/, 'out');
        running.child.kill('SIGTERM');
      },
      code: 0,
      err: '',
    },
    { args: ['events', '-c', './tasks.ts:nothing'], code: 78, out: '', err: /is no function/ },
    { args: ['events', '--detach'], code: 2, out: '', err: /Only a camera runs in the background/ },
    { args: ['events', '-F', 'often'], code: 2, out: '', err: /"often" is not a number/ },
    ...brokerFaults('events', '--dump'),
    unknownApp('events', '--dump'),
  ],
} satisfies VerbRows;
