// Writes docs/settings.md and docs/errors.md from the tables in core's built output (`pnpm build` first).
// With --check it writes nothing and fails when a page is not what it would write.
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { root } from './run.mjs';

const built = (path) => import(pathToFileURL(join(root, 'packages/core/dist', path)).href);

const loaded = await Promise.all(
  ['errors.js', 'app/option-names.js', 'app/settings-table.js', 'app/settings.js'].map((path) =>
    built(path).catch((cause) => {
      throw new Error(`packages/core/dist/${path} cannot be loaded. Run "pnpm build" first.`, { cause });
    }),
  ),
);
const [errors, { toSnakeCase }, { SETTING_SECTIONS, oldSettingName }, { REMOVED_SETTINGS }] = loaded;

const note = '<!-- Written by scripts/option-tables.mjs; change the tables in packages/core/src instead. -->';
const cell = (text) => text.replaceAll('|', '\\|').replaceAll('\n', ' ');
const code = (text) => `\`${text}\``;

function showDefault({ defaultValue, defaultText, whenNull }) {
  if (defaultText !== undefined) return defaultText;
  if (defaultValue === undefined) return '';
  if (defaultValue === null) return whenNull === 'value' ? code('null') : '';
  return code(defaultValue === Infinity ? 'Infinity' : JSON.stringify(defaultValue));
}

function settingRow(name, setting) {
  const { doc, celeryDefault, ours, kind, whenNull } = setting;
  const known = ours ? 'ours' : `${code(toSnakeCase(name))}<br>${code(oldSettingName(name))}`;
  const text = celeryDefault === undefined ? doc : `${doc} Celery's default: ${celeryDefault}.`;
  const accepts = whenNull === 'value' ? `${kind.expected}, or null` : kind.expected;
  return `| ${[code(name), known, accepts, showDefault(setting), text].map(cell).join(' | ')} |`;
}

function effectlessRow(name, { withoutEffect }) {
  return `| ${[code(name), `${code(toSnakeCase(name))}<br>${code(oldSettingName(name))}`, withoutEffect].map(cell).join(' | ')} |`;
}

/** The code that could read settings: all but the tables themselves, and transports, which have options of their own. */
async function sourceText() {
  const packages = await readdir(join(root, 'packages'));
  const texts = await Promise.all(
    packages
      .filter((name) => !name.startsWith('transport-'))
      .sort()
      .map(async (name) => {
        const folder = join(root, 'packages', name, 'src');
        const files = await readdir(folder, { recursive: true }).catch(() => []);
        const own = files.filter(
          (file) =>
            file.endsWith('.ts') && !/\.test(?:-d)?\.ts$/.test(file) && !/sett(?:ings-table|ing-kinds)\.ts$/.test(file),
        );
        return (await Promise.all(own.map((file) => readFile(join(folder, file), 'utf8')))).join('\n');
      }),
  );
  return texts.join('\n');
}

function settingsPage(source) {
  const isRead = ([name]) => new RegExp(`\\b${name}\\b`).test(source);
  const lines = [
    '# Settings',
    '',
    note,
    '',
    'Give settings to `new Lovage(name, { ... })`, to `lovage.config.ts` or to `app.configFrom(...)`: an object, a module, or',
    'an environment with a namespace ([the guide](guide/configuration.md)). Every setting may be spelled as below: camelCase,',
    "Celery's snake_case, or its upper-case name of before 4.0. An unknown name is an error that says which is nearest; so are",
    'two different values of one setting in one place, a value that a setting cannot have, and, as in Celery, snake_case names',
    'together with those of before 4.0.',
    '',
    'Later places win over earlier ones, and the environment wins over the program: `CELERY_BROKER_URL`,',
    '`CELERY_BROKER_READ_URL`, `CELERY_BROKER_WRITE_URL` and `CELERY_RESULT_BACKEND` as in Celery, and `LOVAGE_` with the',
    'snake_case name in upper case for every setting: `LOVAGE_WORKER_CONCURRENCY=8`. Lists are written with commas, objects as',
    'JSON, null as `none`; an empty variable says nothing.',
    '',
    "With a namespace (`configFrom(process.env, { namespace: 'CELERY' })`) only keys that begin with it are read:",
    '`CELERY_TASK_ALWAYS_EAGER`.',
    '',
    'Times are seconds unless the name says otherwise.',
    '',
  ];
  const effectless = [];
  const unread = [];
  for (const [title, section] of Object.entries(SETTING_SECTIONS)) {
    const entries = Object.entries(section);
    effectless.push(...entries.filter(([, { withoutEffect }]) => withoutEffect !== undefined));
    const effective = entries.filter(([, { withoutEffect }]) => withoutEffect === undefined);
    unread.push(...effective.filter((entry) => !isRead(entry)));
    const rows = effective.filter(isRead);
    if (rows.length === 0) continue;
    lines.push(
      `## ${title}`,
      '',
      '| Setting | In Celery | Expected | Default | What it does |',
      '|---|---|---|---|---|',
    );
    lines.push(...rows.map(([name, setting]) => settingRow(name, setting)), '');
  }
  lines.push(
    ...(unread.length === 0
      ? []
      : [
          '## Not read by this version',
          '',
          'Accepted and checked, but no part of this version reads them.',
          '',
          '| Setting | In Celery | Expected | Default | What it is for |',
          '|---|---|---|---|---|',
          ...unread.map(([name, setting]) => settingRow(name, setting)),
          '',
        ]),
    '## Accepted without effect',
    '',
    'Settings of Celery that change nothing here. They are accepted, so that one configuration can serve both.',
    '',
    '| Setting | In Celery | Why |',
    '|---|---|---|',
    ...effectless.map(([name, setting]) => effectlessRow(name, setting)),
    '',
    `Names that Celery itself has no more are accepted too: ${[...REMOVED_SETTINGS].map(code).join(', ')}.`,
    '',
  );
  return lines.join('\n');
}

/** Which class carries which code; `LovageError` itself carries those without a class of their own. */
function classesByCode() {
  const classes = new Map();
  for (const type of Object.values(errors)) {
    if (typeof type !== 'function' || !(type.prototype instanceof errors.LovageError)) continue;
    const { code: of, name } = new type([], 0);
    classes.set(of, [...(classes.get(of) ?? []), name]);
  }
  return classes;
}

function errorsPage() {
  const classes = classesByCode();
  return [
    '# Errors',
    '',
    note,
    '',
    'Every error that Lovage throws is a `LovageError` with a `code`. Recognise it with `isLovageError(error)` or',
    "`isLovageError(error, 'ERR_TIMEOUT')`, which also holds across two installed copies; `instanceof` does not.",
    '`retryable` says whether the same call may succeed later with nothing changed; a single error may say otherwise than',
    'its code. Facts such as `queue`, `taskId` or `url` (password masked) are properties of the error.',
    '',
    '| Code | Class | Retryable | Meaning |',
    '|---|---|---|---|',
    ...Object.entries(errors.ERROR_CODES).map(
      ([of, { retryable, summary }]) =>
        `| ${[code(of), (classes.get(of) ?? ['LovageError']).map(code).join(', '), retryable ? 'yes' : 'no', summary].map(cell).join(' | ')} |`,
    ),
    '',
  ].join('\n');
}

const pages = [
  ['docs/settings.md', settingsPage(await sourceText())],
  ['docs/errors.md', errorsPage()],
];
if (process.argv.includes('--check')) {
  const stale = [];
  for (const [path, text] of pages) {
    if ((await readFile(join(root, path), 'utf8').catch(() => undefined)) !== text) stale.push(path);
  }
  if (stale.length > 0) {
    console.error(`Not up to date: ${stale.join(', ')}. Run "node scripts/option-tables.mjs".`);
    process.exitCode = 1;
  }
} else {
  await mkdir(join(root, 'docs'), { recursive: true });
  for (const [path, text] of pages) {
    await writeFile(join(root, path), text);
    console.log(`Wrote ${path}.`);
  }
}
