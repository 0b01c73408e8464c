// Runs the interop tests against the real Python Celery and writes their tables to docs/interop.md, docs/results.md and
// docs/canvas.md.
//
//   node scripts/interop.mjs [vitest filters] [--check]      --check: the table must be as it is
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeControlTable } from './control-table.mjs';
import { root, run } from './run.mjs';
import { startServices } from './services.mjs';

const args = process.argv.slice(2);
const filters = args.filter((arg) => arg !== '--check');
const stores = ['mongodb', 'postgresql', 'mariadb', 'memcached', 'dynamodb', 's3'];
const services = ['redis', 'amqp', 'sqs', ...stores, 'python', 'python-5.2', 'flower', 'traces'];
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

const cellsOf = (name) => {
  const path = join(root, `interop/.results/${name}.json`);
  return existsSync(path) && code === 0 ? JSON.parse(readFileSync(path, 'utf8')) : undefined;
};

const matrix = filters.length === 0 ? cellsOf('matrix') : undefined;
if (matrix !== undefined) {
  write('docs/interop.md', [
    '# What runs between Lovage and Python Celery',
    '',
    'Written by the interop tests (`pnpm interop`): each cell is a test with the real Celery, as sender and as worker.',
    '`→` Python sends and TypeScript runs; `←` TypeScript sends and Python runs.',
    '',
    ...table(matrix, ({ peer, broker }) => `${peer}<br>${broker}`, 'Python sends'),
  ]);
}

const results = filters.length === 0 || filters.includes('results') ? cellsOf('results') : undefined;
if (results !== undefined) {
  write('docs/results.md', [
    '# Results that Lovage and Python Celery read of each other',
    '',
    'Written by the interop tests (`pnpm interop results`): each cell is a test with the real Celery 5.6, whose worker or client',
    'stands on the other side. `→` a Python worker writes and TypeScript reads; `←` a TypeScript worker writes and Python reads.',
    '',
    ...table(results, ({ store }) => `\`${store}\``, 'Python writes'),
  ]);
}

const canvas = join(root, 'interop/.results/canvas.json');
if (existsSync(canvas) && (filters.length === 0 || filters.includes('canvas')) && code === 0)
  write('docs/canvas.md', canvasPage(JSON.parse(readFileSync(canvas, 'utf8'))));

/** A row for each of what is tested, a column for each peer, in a cell both directions. */
function table(cells, columnOf, toTypescript) {
  const columns = [...new Set(cells.map(columnOf))];
  const lines = [`| | ${columns.join(' | ')} |`, `|---|${columns.map(() => '---').join('|')}|`];
  for (const row of new Set(cells.map((cell) => cell.row))) {
    const shown = columns.map((column) => {
      const mine = cells.filter((cell) => cell.row === row && columnOf(cell) === column);
      const both = mine.map(({ direction, outcome }) => `${direction === toTypescript ? '→' : '←'} ${outcome}`);
      return both.join(', ') || 'n/a';
    });
    lines.push(`| ${row} | ${shown.join(' | ')} |`);
  }
  return lines;
}

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
