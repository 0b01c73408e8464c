import { type Todo, type UpgradedSetting, type UpgradedSettings, withoutEffect } from './upgraded-settings.ts';

/** The text of `lovage.config.ts`, in the order of the old file. */
export function renderConfig({ settings, todos, notes, preamble, imports }: UpgradedSettings, source: string): string {
  const modules = new Map(imports);
  modules.set('@lovage/core', new Set(['defineConfig', ...(imports.get('@lovage/core') ?? [])]));
  const head = [...modules]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([from, names]) => `import { ${[...names].toSorted().join(', ')} } from '${from}';`);
  const rows = [
    ...settings.map((setting) => ({ line: setting.line, text: renderSetting(setting) })),
    ...todos.map((todo) => ({ line: todo.line, text: renderTodo(todo) })),
  ].toSorted((a, b) => a.line - b.line);
  const body = rows.map(({ text }) => indent(text)).join('\n');
  return `${[
    `// Rewritten from ${source} by "lovage upgrade settings".`,
    ...notes.map((note) => `// ${note}`),
    ...head,
    '',
    ...preamble.flatMap((statement) => [statement, '']),
    `export default defineConfig({`,
    ...(body === '' ? [] : [body]),
    '});',
  ].join('\n')}\n`;
}

function renderSetting({ name, key, code, comments }: UpgradedSetting): string {
  const reason = withoutEffect(name);
  const before = comments.map((line) => `// ${line}`.trimEnd());
  const text = `${name}: ${code},`;
  if (reason === undefined) return [...before, text].join('\n');
  return [...before, `// Without effect here: ${reason} (${key})`, commented(text)].join('\n');
}

function renderTodo({ source, reason, line }: Todo): string {
  return `// TODO: ${reason} Line ${line} was:\n${commented(source)}`;
}

function commented(text: string): string {
  return text
    .split('\n')
    .map((line) => `// ${line}`.trimEnd())
    .join('\n');
}

function indent(text: string): string {
  return text.replace(/^(?=.)/gm, '  ');
}
