import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { startCommand } from './support/command.ts';
import { projectFolder } from './support/folder.ts';

const folder = projectFolder({ 'tasks.ts': '', 'tests/a.ts': '' }, []);
afterAll(() => folder.remove());

/** What each shell offers after these words, asked of the shell itself. */
const SHELLS: Readonly<Record<string, (script: string, words: readonly string[]) => readonly string[]>> = {
  bash: (script, words) => {
    const line = ['lovage', ...words].map((word) => `'${word}'`).join(' ');
    return asked('bash', [
      '--norc',
      '-c',
      `source ${script}; COMP_WORDS=(${line}); COMP_CWORD=${words.length}; _lovage; printf '%s\\n' "\${COMPREPLY[@]}"`,
    ]);
  },
  fish: (script, words) =>
    asked('fish', ['--no-config', '-c', `source ${script}; complete -C '${['lovage', ...words].join(' ')}'`]).map(
      (line) => line.split('\t')[0] as string,
    ),
};

function asked(program: string, args: readonly string[]): readonly string[] {
  const { stdout, stderr } = spawnSync(program, args, { cwd: folder.path, encoding: 'utf8' });
  expect(stderr).toBe('');
  return stdout.split('\n').filter((line) => line !== '');
}

const has = (program: string): boolean => spawnSync(program, ['--version']).status === 0;

describe.each(Object.keys(SHELLS).filter(has))('%s', (shell) => {
  test('completes verbs, options and their values', async () => {
    const { code, out } = await startCommand(folder.path, ['completion', shell]).ended;
    expect(code).toBe(0);
    const script = join(folder.path, `lovage.${shell}`);
    writeFileSync(script, out);
    const offered = (...words: string[]): readonly string[] =>
      (SHELLS[shell] as (typeof SHELLS)[string])(script, words);
    expect(offered('')).toEqual(expect.arrayContaining(['worker', 'beat', 'schedule', 'inspect']));
    expect(offered('wo')).toEqual(['worker']);
    expect(offered('worker', '--conc')).toEqual(['--concurrency']);
    expect(offered('-A', './tasks', 'worker', '--conc')).toEqual(['--concurrency']);
    expect(offered('worker', '-A', 'beat', '--conc')).toEqual(['--concurrency']);
    expect(offered('call', '--conc')).toEqual([]);
    expect(offered('worker', '-l', 'w')).toEqual(['warning']);
    expect(offered('worker', '-P', 'thr')).toEqual(['threads']);
    expect(offered('schedule', 'pa')).toEqual(['pause']);
    expect(offered('schedule', 'next', '--cou')).toEqual(['--count']);
    expect(offered('inspect', 'active_q')).toEqual(['active_queues']);
    expect(offered('-A', 'tas')).toEqual(['tasks.ts']);
    expect(offered('worker', '-c', '')).toEqual([]);
  });
});

test.skipIf(!has('zsh'))('zsh reads its script', async () => {
  const { out } = await startCommand(folder.path, ['completion', 'zsh']).ended;
  const script = join(folder.path, '_lovage');
  writeFileSync(script, out);
  expect(asked('zsh', ['-f', '-n', script])).toEqual([]);
  const offers = `_describe() { print -l -- "$@"; local name; for name in "$@"; do print -l -- \${(P)name}; done }
compdef() { : }; source ${script}; CURRENT=3; PREFIX=--; words=(lovage worker --); _lovage`;
  expect(asked('zsh', ['-f', '-c', offers])).toContain(
    '--concurrency:tasks that run at once (default: 100 for async, else the number of CPUs)',
  );
});
