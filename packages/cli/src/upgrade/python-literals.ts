/** What a piece of Python cannot be turned into TypeScript for. */
export class Untranslatable extends Error {}

const ESCAPES: Readonly<Record<string, string>> = {
  n: '\n',
  t: '\t',
  r: '\r',
  a: '\u0007',
  b: '\b',
  f: '\f',
  v: '\v',
  '\\': '\\',
  "'": "'",
  '"': '"',
  '\n': '',
};

/** The text that a literal of Python stands for. Throws `Untranslatable` for bytes. */
export function readString(literal: string): string {
  const [, prefix = '', quote = '', rest = ''] = /^([A-Za-z]*)("""|'''|"|')([^]*)$/.exec(literal) ?? [];
  if (/b/i.test(prefix)) throw new Untranslatable('Bytes have no counterpart.');
  return unescape(rest.slice(0, rest.length - quote.length), /r/i.test(prefix));
}

/** Backslashes of Python, unless the literal is raw. */
export function unescape(text: string, isRaw: boolean): string {
  if (isRaw) return text;
  return text.replace(
    /\\(?:x([\dA-Fa-f]{2})|u([\dA-Fa-f]{4})|U([\dA-Fa-f]{8})|N\{([^}]*)\}|([0-7]{1,3})|([^]))/g,
    (all, hex?: string, short?: string, long?: string, name?: string, octal?: string, character?: string) => {
      if (name !== undefined) throw new Untranslatable('A character is named.');
      const code = hex ?? short ?? long;
      if (code !== undefined) return String.fromCodePoint(Number.parseInt(code, 16));
      if (octal !== undefined) return String.fromCodePoint(Number.parseInt(octal, 8));
      return ESCAPES[character ?? ''] ?? all;
    },
  );
}

/** A number of Python as TypeScript. */
export function readNumber(literal: string): string {
  if (/j$/i.test(literal)) throw new Untranslatable('Complex numbers have no counterpart.');
  if (/^0[\d_]/.test(literal) && !/[.e]/i.test(literal)) return literal.replace(/^[0_]+(?=\d)/, '');
  return literal.replace(/^\./, '0.').replace(/\.(?=$|e)/i, '');
}
