// Runs the interop tests against the real Python Celery and writes their tables to docs/interop.md and docs/canvas.md.
//
//   node scripts/interop.mjs [vitest filters] [--check]      --check: the table must be as it is
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeControlTable } from './control-table.mjs';
import { root, run } from './run.mjs';
import { startServices } from './services.mjs';

const args = process.argv.slice(2);
const filters = args.filter((arg) => arg !== '--check');
const services = ['redis', 'amqp', 'mongodb', 'sqs', 'postgresql', 'mariadb', 'python', 'python-5.2', 'flower'];
const { env, stop } = await startServices(services);
const { code } = await run(
  process.execPath,
  [join(root, 'node_modules/vitest/vitest.mjs'), 'run', '--project', 'interop', ...filters],
  {
    env: { ...process.env, ...env },
  },
);
await stop();
process.exitCode = code;
if (code === 0 && !args.includes('--check')) writeControlTable();

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
  write('docs/interop.md', lines);
}

const canvas = join(root, 'interop/.results/canvas.json');
if (existsSync(canvas) && (filters.length === 0 || filters.includes('canvas')) && code === 0)
  write('docs/canvas.md', canvasPage(JSON.parse(readFileSync(canvas, 'utf8'))));

function write(path, lines) {
  const text = `${lines.join('\n')}\n`;
  const file = join(root, path);
  if (args.includes('--check')) {
    if (!existsSync(file) || readFileSync(file, 'utf8') !== text) {
      console.error(`${path} is not what the tests say. Run "pnpm interop" and commit it.`);
      process.exitCode = 1;
    }
  } else writeFileSync(file, text);
}

/** Shapes by brokers: one mark for each way in which a shape was run. */
function canvasPage({ shapes, ways, cells }) {
  const cell = (text) => text.replaceAll('|', '\\|');
  const meetings = [...new Set(cells.map(({ meeting }) => meeting))];
  const lines = [
    '# Workflows that Celery and Lovage run alike',
    '',
    'Written by the interop tests (`pnpm interop canvas`). Each shape is built by the canvas of the side that sends it and run in',
    `${ways.length} ways: ${ways.join('; ')}. In a mixed one the tasks of a shape take turns between Python and`,
    'TypeScript. "same" means: in all ways the result in the second column, value and order, and the same ends of callbacks',
    'and errbacks. Celery is 5.6.',
    '',
    `| shape | result | ${meetings.join(' | ')} |`,
    `|---|---|${meetings.map(() => '---').join('|')}|`,
  ];
  const notes = [];
  for (const { name, ends, celery, notOn } of shapes) {
    const shown = meetings.map((meeting) => {
      if (notOn?.broker === meeting) return notOn.why;
      // Whose worker joins a shared chord is a race: the table does not say who won today.
      return celery === undefined ? 'same' : 'see below';
    });
    if (celery !== undefined) notes.push(`- ${name}: with Celery, ${celery}`);
    lines.push(`| ${cell(name)} | ${cell(ends)} | ${shown.join(' | ')} |`);
  }
  return notes.length === 0 ? lines : [...lines, '', 'Where Celery does not come to that end:', '', ...notes];
}
