import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { VerbContext, VerbRows } from '../support/verbs.ts';

const fresh = ({ folder }: VerbContext): void => rmSync(join(folder, 'made'), { recursive: true, force: true });
const made = ({ folder }: VerbContext, path: string): string => readFileSync(join(folder, 'made', path), 'utf8');

export default {
  init: [
    {
      args: ['init', 'made', '--yes', '--no-install'],
      before: fresh,
      code: 0,
      out: /^ {2}written {2}package\.json\n[^]*Ready\. Next:\n {2}cd made\n {2}npm i\n {2}npm run dev\n/,
      err: '',
      after: (_, context) => expect(made(context, 'lovage.config.ts')).toContain("broker: 'sqla+sqlite:///lovage.db'"),
    },
    {
      args: ['init', 'made', '--broker', 'rabbitmq', '--package-manager', 'pnpm', '--no-install', '--json'],
      before: fresh,
      code: 0,
      out: /^\{"folder":".*\/made","broker":"amqp:.*"packageManager":"pnpm","files":\{"package.json":"written".*\}\n$/,
      after: (_, context) => {
        const { dependencies } = JSON.parse(made(context, 'package.json')) as { dependencies: object };
        const own = ['backend-rpc', 'cli', 'core', 'transport-amqp'].map((name) => `@lovage/${name}`);
        expect(Object.keys(dependencies)).toEqual(own);
      },
    },
    {
      title: 'what is there is kept',
      args: ['init', 'made', '--broker', 'redis', '--no-install', '--yes'],
      code: 0,
      out: /changed {2}package\.json\n {5}kept {2}lovage\.config\.ts\nunchanged {2}src\/app\.ts\n/,
    },
    {
      title: 'asks at a terminal alone',
      args: ['init', 'made', '--no-install'],
      before: fresh,
      act: async (running, { terminal }) => {
        if (!terminal) return;
        await running.said(/Which broker carries the messages\?[^]*SQLite[^]*RabbitMQ/, 'out');
        running.type('\x1b[B\r');
      },
      piped: { code: 2, out: '', err: /^Error: Which broker\? .*give --broker redis, or --yes/ },
      terminal: { code: 0, out: /written {2}lovage\.config\.ts/, err: '' },
      after: (_, context) => {
        if (context.terminal) expect(made(context, 'lovage.config.ts')).toContain("broker: 'redis://localhost:6379/0'");
        else expect(existsSync(join(context.folder, 'made'))).toBe(false);
      },
    },
    {
      title: 'Ctrl+C at the question',
      args: ['init', 'made', '--no-install'],
      before: fresh,
      piped: false,
      act: async (running) => {
        await running.said('Which broker', 'out');
        running.type('\x03');
      },
      code: 1,
      err: 'Error: Ended by you.\n',
      after: (_, { folder }) => expect(existsSync(join(folder, 'made'))).toBe(false),
    },
    {
      title: 'an overwrite is asked for',
      args: ['init', 'made', '--broker', 'nats', '--no-install'],
      piped: false,
      before: async ({ run }) => {
        await run('init', 'made', '--yes', '--no-install');
      },
      act: async (running) => {
        await running.said('lovage.config.ts is there. Overwrite it?', 'out');
        running.type('y');
        await running.said('README.md is there. Overwrite it?', 'out');
        running.type('n');
      },
      code: 0,
      out: /changed {2}lovage\.config\.ts[^]*kept {2}README\.md/,
      after: (_, context) => {
        expect(made(context, 'lovage.config.ts')).toContain('nats://localhost:4222');
        expect(made(context, 'README.md')).not.toContain('NATS');
      },
    },
    {
      args: ['init', 'made', '--broker', 'redsi'],
      code: 2,
      out: '',
      err: /"redsi" is no broker.*Did you mean "redis"/,
    },
    {
      args: ['init', 'made', '--broker', 'kafka://ada:s3cret@queue.example'],
      code: 2,
      out: '',
      err: /^Error: "kafka:\/\/ada:\*\*@queue\.example" is no broker/,
    },
    {
      title: 'a password is not printed',
      args: ['init', 'made', '--broker', 'amqp://ada:s3cret@queue.example', '--no-install', '--json'],
      before: fresh,
      code: 0,
      out: /"broker":"amqp:\/\/ada:\*\*@queue\.example"/,
      after: (_, context) => expect(made(context, 'lovage.config.ts')).toContain('ada:s3cret@'),
    },
    {
      args: ['init', '/dev/null/x', '--yes', '--no-install'],
      code: 1,
      out: '',
      err: /^Error: ENOTDIR: .*\/dev\/null\/x/,
    },
    { args: ['init', 'tasks.ts', '--yes'], code: 2, out: '', err: /tasks\.ts is a file\. Expected a folder/ },
  ],
} satisfies VerbRows;
