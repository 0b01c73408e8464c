import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';
import { type Ended, startCommand } from './support/command.ts';
import { projectFolder } from './support/folder.ts';

const bin = fileURLToPath(new URL('../dist/bin.js', import.meta.url));
const folder = projectFolder({}, ['core', 'transport-sql']);
afterAll(() => folder.remove());

/** A line for the shell, in which `lovage` is the command. */
const shell = (line: string): Promise<Ended> =>
  startCommand(folder.path, ['-c', `lovage() { "${process.execPath}" "${bin}" "$@"; }\n${line}`], { program: 'sh' })
    .ended;

test('a mistake in what is piped into amqp ends no session, and the session not with 0', async () => {
  const amqp = 'lovage -b sqla+sqlite:///session.db amqp';
  const ended = await shell(`printf 'nonsense\\nqueue.declare x\\n' | ${amqp}`);
  expect(ended).toMatchObject({ code: 1, out: 'queue:x messages:0\nOK\n' });
  expect(ended.err).toMatch(/^Error: "nonsense" is no command/);
  expect(await shell(`printf 'queue.declare x\\n' | ${amqp}`)).toMatchObject({ code: 0, err: '' });
});

test('what the system refuses is said in one line', async () => {
  const detached = await shell('lovage -b memory:// worker --detach --executable /nowhere/node');
  expect(detached).toEqual({ code: 1, out: '', err: 'Error: spawn /nowhere/node ENOENT\n' });
  const gone = await shell('mkdir gone && cd gone && rmdir ../gone && lovage -b memory:// report');
  expect(gone).toMatchObject({ code: 1, out: '', err: /^Error: ENOENT: .*uv_cwd\n$/.exec(gone.err)?.[0] });
});
