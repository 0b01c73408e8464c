import type { VerbRows } from '../support/verbs.ts';

export default {
  shell: [
    {
      args: ['shell', '-e', 'const result = await add.delay(20, 22); await result.get({ timeout: 10 }) // the sum'],
      code: 0,
      out: '42\n',
      err: '',
    },
    {
      args: ['shell', '--json', '-e', '[typeof tasks["tasks.add"].delay, typeof chain]'],
      out: '["function","function"]\n',
    },
    { args: ['shell', '-T', '-e', 'typeof add'], code: 0, out: 'undefined\n', err: '' },
    { args: ['shell', '-e', 'throw new RangeError("too far")'], code: 1, out: '', err: 'Error: RangeError: too far\n' },
    {
      args: ['shell', '-j', '-e', '1n'],
      code: 1,
      out: '',
      err: /^Error: The value cannot be written as JSON: .*BigInt/,
    },
    {
      args: ['shell', '-j', '-e', 'const a = {}; a.a = a; a'],
      code: 1,
      out: '',
      err: /^Error: The value cannot be written as JSON: .*circular/,
    },
    { args: ['shell', '-e', 'let x ='], code: 1, out: '', err: /^Error: SyntaxError: / },
    {
      title: 'a prompt',
      args: ['shell'],
      piped: false,
      env: { LOVAGE_SHELL_HISTORY: 'shell-history' },
      act: async (running) => {
        await running.said('shop> ', 'out');
        running.type('.tasks\r');
        await running.said('tasks.slow', 'out');
        running.type('await (await add.delay(1, 2)).get({ timeout: 10 })\r');
        await running.said(/\n3\n/, 'out');
        running.type('.exit\r');
      },
      code: 0,
      out: /^App "shop" with 3 tasks\./,
    },
  ],
} satisfies VerbRows;
