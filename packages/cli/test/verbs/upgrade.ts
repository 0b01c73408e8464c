import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { VerbCase, VerbRows } from '../support/verbs.ts';

const SETTINGS = `BROKER_URL = 'sqla+sqlite:///shop.db'\nCELERYD_CONCURRENCY = 3\nCELERY_IMPORTS = load()\n`;
const OUTPUT = 'upgraded/lovage.config.ts';
const upgrade = ['upgrade', 'settings', 'celeryconfig.py', '-o', OUTPUT];

const fill: VerbCase['before'] = ({ folder }) => writeFileSync(join(folder, 'celeryconfig.py'), SETTINGS);
const fresh: VerbCase['before'] = (context) => {
  rmSync(join(context.folder, 'upgraded'), { recursive: true, force: true });
  return fill(context);
};

export default {
  'upgrade settings': [
    {
      args: upgrade,
      before: fresh,
      code: 0,
      out: /^Wrote 2 settings to .*upgraded\/lovage\.config\.ts\.\r?\n {2}line 3: to do: imports: "load\(\.\.\.\)"/,
      err: '',
      after: (_, { folder }) => {
        const text = readFileSync(join(folder, OUTPUT), 'utf8');
        expect(text).toContain("  brokerUrl: 'sqla+sqlite:///shop.db',\n  workerConcurrency: 3,\n");
        expect(text).toContain('// CELERY_IMPORTS = load()');
      },
    },
    { args: upgrade, before: fill, code: 1, out: '', err: /is there already.*--force/ },
    {
      args: [...upgrade, '--force'],
      code: 0,
      out: /^Kept what was there as .*\.orig\./,
      after: (_, { folder }) => expect(existsSync(join(folder, `${OUTPUT}.orig`))).toBe(true),
    },
    {
      args: [...upgrade, '--force'],
      title: 'twice',
      before: ({ folder }) => {
        rmSync(join(folder, `${OUTPUT}.orig.1`), { force: true });
        writeFileSync(join(folder, `${OUTPUT}.orig`), 'the only original');
      },
      code: 0,
      out: /^Kept what was there as .*\.orig\.1\./,
      after: (_, { folder }) => expect(readFileSync(join(folder, `${OUTPUT}.orig`), 'utf8')).toBe('the only original'),
    },
    {
      args: ['upgrade', 'settings', 'broken.py'],
      before: ({ folder }) => writeFileSync(join(folder, 'broken.py'), 'broker_url = (\n'),
      code: 1,
      out: '',
      err: /Line 1 is no Python that can be read: broker_url = \(/,
    },
    ...['ts', 'cjs'].map(
      (kind): VerbCase => ({
        args: ['upgrade', 'settings', `broken.${kind}`, '-o', `broken/${kind}.ts`],
        before: ({ folder }) =>
          writeFileSync(
            join(folder, `broken.${kind}`),
            'module.exports = {\n  CELERYD_CONCURRENCY: 3,\n  timezone: ,\n};\n',
          ),
        code: 1,
        out: '',
        err: /^Error: Line 3 of .*broken\.\w+ cannot be read: Unexpected token: timezone: ,\nMend it first; nothing was written/,
        after: (_, { folder }) => expect(existsSync(join(folder, 'broken'))).toBe(false),
      }),
    ),
    {
      title: 'TypeScript that other parsers stumble over',
      args: ['upgrade', 'settings', 'strange.ts', '-o', '-'],
      before: ({ folder }) =>
        writeFileSync(
          join(folder, 'strange.ts'),
          "export { type A } from './a.ts';\nlet b!: number;\nexport default { CELERYD_CONCURRENCY: 3 } satisfies object;\n",
        ),
      code: 0,
      out: /workerConcurrency: 3,/,
      err: '',
    },
    {
      args: ['upgrade', 'settings', 'celery.py', '--check'],
      before: ({ folder }) =>
        writeFileSync(join(folder, 'celery.py'), "app = Celery('p')\napp.config_from_object('p.config')\n"),
      code: 1,
      out: /^0 settings can be rewritten\.\n {2}line 2: to do: Settings of p\.config are not followed/,
      err: '',
    },
    { args: [...upgrade, '--check', '--json'], before: fill, code: 1, out: /^\{"written":null,.*"line":3/, err: '' },
    { args: ['upgrade', 'settings', 'celeryconfig.py', '-o', '-'], before: fill, code: 0, out: /^\/\/ Rewritten/ },
    { args: ['upgrade', 'settings', 'nothing.py'], code: 1, out: '', err: /cannot be read/ },
    {
      args: ['upgrade', 'settings', 'empty.py'],
      before: ({ folder }) => writeFileSync(join(folder, 'empty.py'), 'DEBUG = True\n'),
      code: 1,
      out: '',
      err: /has no settings/,
    },
    { args: ['upgrade', 'settings'], code: 2, out: '', err: /missing required argument 'file'/ },
  ],
} satisfies VerbRows;
