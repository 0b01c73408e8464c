import { CommandError, EXIT } from '../exit-codes.ts';

/** What jiti gives instead of code for a source that cannot be parsed: a module that says it. */
const FAILURE = /^exports\.__JITI_ERROR__ = (\{.*\});?$/s;

/**
 * Throws `CommandError` for a module of TypeScript or JavaScript that cannot be parsed. The parser of the settings reads on
 * over mistakes, and there is TypeScript that it takes for one; Babel, which jiti brings, knows.
 */
export async function refuseSyntaxErrors(source: string, file: string): Promise<void> {
  const { createJiti } = await import('jiti');
  const code = createJiti(import.meta.url, { fsCache: false }).transform({
    source,
    filename: file,
    ts: /\.[cm]?ts$/.test(file),
    async: true,
  });
  const [, failure] = FAILURE.exec(code) ?? [];
  if (failure === undefined) return;
  const { line, message } = JSON.parse(failure) as { readonly line: number; readonly message: string };
  const text = source.split('\n')[line - 1]?.trim() ?? '';
  throw new CommandError(
    `Line ${line} of ${file} cannot be read: ${message.trim()}: ${text}\nMend it first; nothing was written.`,
    EXIT.failed,
  );
}
