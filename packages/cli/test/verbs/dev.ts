import { cpSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { VerbCase, VerbRows } from '../support/verbs.ts';

/** A folder of its own: other tests change files of the project. */
const apart: VerbCase['before'] = ({ folder }) => {
  mkdirSync(join(folder, 'apart'), { recursive: true });
  cpSync(join(folder, 'tasks.ts'), join(folder, 'apart/tasks.ts'));
};

export default {
  dev: [
    {
      args: ['--workdir', 'apart', 'dev'],
      before: apart,
      act: async (running, { terminal }) => {
        await running.said('ready: consuming');
        if (terminal) running.type('\x03');
        else running.child.kill('SIGTERM');
      },
      code: 0,
      piped: { out: '' },
      err: /^dev starting; watching .*\/apart\n\d\d:\d\d:\d\d\.\d{3} INFO {4}.*ready: consuming[^]*dev stopping/,
    },
    {
      title: 'no app',
      args: ['dev'],
      env: { LOVAGE_APP: '' },
      code: 2,
      out: '',
      err: /Error: Which app\?.*lovage\.config\.ts/,
    },
    { args: ['dev', '--', '--nope'], code: 2, out: '', err: /unknown option '--nope'/ },
    { args: ['dev', '-l', 'loud'], code: 2, out: '', err: /"loud" is no log level/ },
  ],
} satisfies VerbRows;
