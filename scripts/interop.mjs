// Runs the interop tests against the real Python Celery and writes their table to docs/interop.md.
//
//   node scripts/interop.mjs [vitest filters] [--check]      --check: the table must be as it is
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root, run } from './run.mjs';
import { startServices } from './services.mjs';

const args = process.argv.slice(2);
const filters = args.filter((arg) => arg !== '--check');
const { env, stop } = await startServices(['redis', 'amqp', 'sqs', 'python', 'python-5.2']);
const { code } = await run(
  process.execPath,
  [join(root, 'node_modules/vitest/vitest.mjs'), 'run', '--project', 'interop', ...filters],
  {
    env: { ...process.env, ...env },
  },
);
await stop();
process.exitCode = code;

const results = join(root, 'interop/.results/matrix.json');
if (existsSync(results) && filters.length === 0 && code === 0) {
  const cells = JSON.parse(readFileSync(results, 'utf8'));
  const columns = [...new Set(cells.map(({ peer, broker }) => `${peer}<br>${broker}`))];
  const lines = [
    '# What runs between Lovage and Python Celery',
    '',
    'Written by the interop tests (`pnpm interop`): each cell is a test with the real Celery, as sender and as worker.',
    '`→` Python sends and TypeScript runs; `←` TypeScript sends and Python runs.',
    '',
    `| | ${columns.join(' | ')} |`,
    `|---|${columns.map(() => '---').join('|')}|`,
  ];
  for (const row of new Set(cells.map(({ row }) => row))) {
    const shown = columns.map((column) => {
      const mine = cells.filter((cell) => cell.row === row && `${cell.peer}<br>${cell.broker}` === column);
      return (
        mine.map(({ direction, outcome }) => `${direction === 'Python sends' ? '→' : '←'} ${outcome}`).join(', ') ||
        'n/a'
      );
    });
    lines.push(`| ${row} | ${shown.join(' | ')} |`);
  }
  const text = `${lines.join('\n')}\n`;
  const file = join(root, 'docs/interop.md');
  mkdirSync(join(root, 'docs'), { recursive: true });
  if (args.includes('--check')) {
    if (!existsSync(file) || readFileSync(file, 'utf8') !== text) {
      console.error('docs/interop.md is not what the tests say. Run "pnpm interop" and commit it.');
      process.exitCode = 1;
    }
  } else writeFileSync(file, text);
}
