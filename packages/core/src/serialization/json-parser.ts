import { DecodeError } from '../errors.ts';

/** Python refuses longer ones too; turning digits into a bigint takes more than linear time. */
const MAX_DIGITS = 4300;
const NUMBER = /-?(?:0|[1-9]\d*)(\.\d+)?([Ee][+-]?\d+)?/y;
const LITERALS: readonly (readonly [text: string, value: unknown])[] = [
  ['null', null],
  ['true', true],
  ['false', false],
  ['NaN', Number.NaN],
  ['Infinity', Number.POSITIVE_INFINITY],
  ['-Infinity', Number.NEGATIVE_INFINITY],
];

/**
 * JSON with Python's literals and integers of any size, for the texts that `JSON.parse` cannot do; else as strict as
 * it. Keys named `__proto__` are dropped. Throws `DecodeError`, also beyond `maxDepth` levels.
 */
export function parseTolerantly(text: string, maxDepth: number): unknown {
  return new Parser(text, maxDepth).parse();
}

class Parser {
  readonly #text: string;
  readonly #maxDepth: number;
  #at = 0;

  constructor(text: string, maxDepth: number) {
    this.#text = text;
    this.#maxDepth = maxDepth;
  }

  parse(): unknown {
    const value = this.#value(0);
    this.#space();
    if (this.#at < this.#text.length) throw this.#unexpected();
    return value;
  }

  #value(depth: number): unknown {
    this.#space();
    switch (this.#text.charCodeAt(this.#at)) {
      case 0x7b: // {
        return this.#object(this.#deeper(depth));
      case 0x5b: // [
        return this.#array(this.#deeper(depth));
      case 0x22: // "
        return this.#string();
    }
    for (const [text, value] of LITERALS) {
      if (this.#text.startsWith(text, this.#at)) {
        this.#at += text.length;
        return value;
      }
    }
    return this.#number();
  }

  #deeper(depth: number): number {
    if (depth >= this.#maxDepth) throw new DecodeError(`The JSON is nested deeper than ${this.#maxDepth} levels.`);
    return depth + 1;
  }

  #object(depth: number): Record<string, unknown> {
    const record: Record<string, unknown> = {};
    this.#at++;
    this.#space();
    if (this.#take('}')) return record;
    for (;;) {
      this.#space();
      if (this.#text[this.#at] !== '"') throw this.#unexpected();
      const key = this.#string();
      this.#space();
      if (!this.#take(':')) throw this.#unexpected();
      const value = this.#value(depth);
      // Assigning to it would set the prototype.
      if (key !== '__proto__') record[key] = value;
      this.#space();
      if (this.#take('}')) return record;
      if (!this.#take(',')) throw this.#unexpected();
    }
  }

  #array(depth: number): unknown[] {
    const list: unknown[] = [];
    this.#at++;
    this.#space();
    if (this.#take(']')) return list;
    for (;;) {
      list.push(this.#value(depth));
      this.#space();
      if (this.#take(']')) return list;
      if (!this.#take(',')) throw this.#unexpected();
    }
  }

  #string(): string {
    const start = this.#at;
    this.#at = endOfString(this.#text, start) + 1;
    try {
      return JSON.parse(this.#text.slice(start, this.#at)) as string;
    } catch (cause) {
      throw new DecodeError('The text is not JSON.', { cause });
    }
  }

  #number(): number | bigint {
    NUMBER.lastIndex = this.#at;
    const match = NUMBER.exec(this.#text);
    if (match === null) throw this.#unexpected();
    const [digits, fraction, exponent] = match;
    this.#at += digits.length;
    const value = Number(digits);
    if (fraction !== undefined || exponent !== undefined || Number.isSafeInteger(value)) return value;
    if (digits.length > MAX_DIGITS) throw new DecodeError(`The JSON has an integer of more than ${MAX_DIGITS} digits.`);
    return BigInt(digits);
  }

  #take(character: string): boolean {
    if (this.#text[this.#at] !== character) return false;
    this.#at++;
    return true;
  }

  #space(): void {
    for (;;) {
      const code = this.#text.charCodeAt(this.#at);
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return;
      this.#at++;
    }
  }

  #unexpected(): Error {
    return new DecodeError(
      this.#at < this.#text.length
        ? `The text is not JSON: character ${this.#at} does not belong there.`
        : 'The text is not JSON: it ends too early.',
    );
  }
}

/** Index of the quote that closes the string begun at `start`, or the end of the text. */
export function endOfString(text: string, start: number): number {
  let end = text.indexOf('"', start + 1);
  while (end >= 0) {
    let slashes = 0;
    while (text.charCodeAt(end - 1 - slashes) === 0x5c) slashes++;
    if (slashes % 2 === 0) return end;
    end = text.indexOf('"', end + 1);
  }
  return text.length;
}
