// Writes what the remote control tests saw into docs/remote-control.md, between its marks.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './run.mjs';

const BEGIN = '<!-- compared:begin -->';
const END = '<!-- compared:end -->';

/** Does nothing when the tests did not run to their end on each broker. */
export function writeControlTable() {
  const results = join(root, 'interop/.results/remote-control.json');
  if (!existsSync(results)) return;
  const rows = JSON.parse(readFileSync(results, 'utf8'));
  const brokers = [...new Set(rows.map(({ broker }) => broker))];
  if (brokers.length < 2) return;
  const lines = [`| command | ${brokers.join(' | ')} | answer |`, `|---|${brokers.map(() => '---').join('|')}|---|`];
  for (const command of new Set(rows.map((row) => row.command))) {
    const mine = rows.filter((row) => row.command === command);
    const cells = brokers.map((broker) => cell(mine.filter((row) => row.broker === broker)));
    lines.push(`| \`${command}\` | ${cells.join(' | ')} | ${example(mine[0].lovage)} |`);
  }
  const file = join(root, 'docs/remote-control.md');
  const text = readFileSync(file, 'utf8');
  const before = text.slice(0, text.indexOf(BEGIN) + BEGIN.length);
  const after = text.slice(text.indexOf(END));
  writeFileSync(file, `${before}\n\n${lines.join('\n')}\n\n${after}`);
}

function cell(rows) {
  if (rows.length === 0) return 'n/a';
  const differences = [...new Set(rows.flatMap((row) => row.differences))];
  return differences.length === 0 ? 'same' : `same but for ${differences.join('; ')}`;
}

/** What is short is shown; of the rest its fields. */
function example(answer) {
  const json = JSON.stringify(answer);
  if (json.length <= 90 && !/[\da-f]{8}-/.test(json) && !/\d{4,}/.test(json))
    return `\`${json.replaceAll('|', '\\|')}\``;
  if (Array.isArray(answer)) {
    const [first] = answer;
    if (first === undefined || typeof first !== 'object') return 'a list of texts';
    return `a list of ${Object.keys(first).join(', ')}`;
  }
  if (typeof answer === 'object' && answer !== null) {
    const names = Object.keys(answer);
    if (names.some((name) => /^[\da-f]{8}-/.test(name))) return 'state and task by id';
    return names.length > 12 ? `${names.length} fields` : `fields ${names.join(', ')}`;
  }
  return 'a text';
}
