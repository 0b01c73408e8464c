// The table broker x promise, from what the conformance kit saw on each real broker; it stands in README.md.
//
//   pnpm promises             runs the kit on every transport, prints the table and writes it into README.md
//   pnpm promises --check     takes the run whose outcomes lie in LOVAGE_KIT_REPORT; README.md must say the same
//
// native: the broker does it. emulated: Lovage does it on top. refused: it is said to be impossible when it is asked
// for. FAILED: a test of it failed. -: nothing there to keep, since the broker has no such notion.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root, run } from './run.mjs';
import { servicesOf, startServices } from './services.mjs';

/** Each column: the kit's tests behind it (names or beginnings), and which claims make it emulated or absent. */
const PROMISES = [
  { name: 'direct and topic exchanges', tests: ['routing: '], except: ['routing: a headers'], emulated: 'exchanges' },
  { name: 'fanout to all processes', tests: ['fanout: '], emulated: 'fanout', has: ({ fanout }) => fanout },
  { name: 'headers exchange', tests: ['routing: a headers'] },
  { name: 'priorities', tests: ['priority: '], emulated: 'priority', has: ({ priorityLevels }) => priorityLevels > 0 },
  {
    // What the broker cannot hold back, the worker does: an ETA is kept everywhere.
    name: 'delay, ETA',
    tests: ['delay: '],
    emulated: 'delay',
    isEmulated: ({ maxDelayMs }) => maxDelayMs === 0,
  },
  { name: 'prefetch', tests: ['prefetch: '], emulated: 'prefetch' },
  { name: 'redelivery after a death', tests: ['redelivery: ', 'lease: ', 'close: '] },
  { name: 'dead letters', tests: ['malformed: ', 'settle: what is rejected'], emulated: 'dead letters' },
  { name: 'none lost when links break', tests: ['loss: ', 'abort: '] },
  { name: 'none taken twice', tests: ['competing: ', 'settle: ', 'volume: '] },
  { name: 'size limit refused', tests: ['publish: a message beyond'], has: (c) => c.maxMessageBytes > 0 },
  { name: 'purge, count, remove', tests: ['admin: '] },
];
const MARKS = ['<!-- promises: written by scripts/promises.mjs -->', '<!-- /promises -->'];

const check = process.argv.includes('--check');
let folder = process.env.LOVAGE_KIT_REPORT;
if (!check) {
  folder = mkdtempSync(join(tmpdir(), 'lovage-promises-'));
  const transports = readdirSync(join(root, 'packages')).filter((name) => name.startsWith('transport-'));
  const { env, stop } = await startServices(servicesOf(transports));
  const tests = transports.map((name) => `packages/${name}/test/conformance`);
  const vitest = join(root, 'node_modules/vitest/vitest.mjs');
  const { code } = await run(process.execPath, [vitest, 'run', '--project', 'broker', ...tests], {
    env: { ...process.env, ...env, LOVAGE_KIT_REPORT: folder },
  });
  await stop();
  process.exitCode = code;
}

/** Brokers of the kit's own tests, right and broken ones. */
const OWN = new Set(['memory.jsonl', 'tcp.jsonl']);
const reports = existsSync(folder)
  ? readdirSync(folder).filter((file) => file.endsWith('.jsonl') && !OWN.has(file))
  : [];
const brokers = reports.map((file) => ({
  broker: file.slice(0, -'.jsonl'.length),
  lines: readFileSync(join(folder, file), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line)),
}));
if (!check) rmSync(folder, { recursive: true, force: true });

function cell({ name, tests, except = [], emulated, isEmulated = () => false, has = () => true }, lines) {
  const mine = lines.filter(
    ({ test }) => tests.some((start) => test.startsWith(start)) && !except.some((start) => test.startsWith(start)),
  );
  if (mine.length === 0) throw new Error(`The kit has no test of "${name}" (${tests.join(', ')}).`);
  if (mine.some(({ outcome }) => outcome === 'failed')) return 'FAILED';
  const capabilities = lines.findLast(({ capabilities }) => capabilities !== undefined).capabilities;
  if (mine.some(({ refused }) => refused)) return 'refused';
  if (!has(capabilities)) return '-';
  if (isEmulated(capabilities) || capabilities.emulated?.includes(emulated)) return 'emulated';
  return 'native';
}

const file = join(root, 'README.md');
const readme = readFileSync(file, 'utf8');
const [before, rest] = readme.split(MARKS[0]);
const [old, after] = rest.split(MARKS[1]);
// A broker that cannot be had on this machine keeps the row that it has.
const rows = new Map(old.split('\n').flatMap((line) => (line.startsWith('| `') ? [[line.split('`')[1], line]] : [])));
for (const { broker, lines } of brokers) {
  rows.set(broker, `| \`${broker}\` | ${PROMISES.map((one) => cell(one, lines)).join(' | ')} |`);
}
const table = [
  `| | ${PROMISES.map(({ name }) => name).join(' | ')} |`,
  `|---|${PROMISES.map(() => '---').join('|')}|`,
  ...[...rows].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, row]) => row),
].join('\n');
console.log(`\n${table}\n`);
const text = `${before}${MARKS[0]}\n\n${table}\n\n${MARKS[1]}${after}`;
if (table.includes('FAILED')) process.exitCode = 1;
if (check && text !== readme) {
  console.error('The table of promises in README.md is not what the kit saw. Run "pnpm promises" and commit it.');
  process.exitCode = 1;
} else if (!check) writeFileSync(file, text);
