import { parseDocument, stringify, type DocumentOptions, type ScalarTag, type SchemaOptions, type Tags } from 'yaml';
import { EncodeError } from '../errors.ts';
import { normalize } from './normalize.ts';
import type { Serializer } from './registry.ts';
import { utf8Text } from './text.ts';

const TRUE = /^(?:yes|true|on)$/i;

const bool: ScalarTag = {
  tag: 'tag:yaml.org,2002:bool',
  default: true,
  test: /^(?:yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)$/,
  identify: (value) => typeof value === 'boolean',
  resolve: (text) => TRUE.test(text),
  stringify: ({ value }) => String(value),
};

const int: ScalarTag = {
  tag: 'tag:yaml.org,2002:int',
  default: true,
  test: /^(?:[-+]?0b[01_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][\d_]*)|[-+]?0x[\da-fA-F_]+|[-+]?[1-9][\d_]*(?::[0-5]?\d)+)$/,
  identify: (value) => typeof value === 'bigint' || Number.isSafeInteger(value),
  resolve: (text) => integer(text.replaceAll('_', '')),
  stringify: ({ value }) => String(value),
};

const float: ScalarTag = {
  tag: 'tag:yaml.org,2002:float',
  default: true,
  test: /^(?:[-+]?\d[\d_]*\.[\d_]*(?:[eE][-+]\d+)?|\.[\d_]+(?:[eE][-+]\d+)?|[-+]?\d[\d_]*(?::[0-5]?\d)+\.[\d_]*|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$/,
  identify: (value) => typeof value === 'number',
  resolve: (text) => fraction(text.replaceAll('_', '')),
  stringify: ({ value }) => fractionText(value as number),
};

const OWN_TAGS = [bool, int, float];

/** Sexagesimal: `1:30` is 90. */
function parts(text: string): { readonly sign: number; readonly digits: readonly string[] } {
  return { sign: text.startsWith('-') ? -1 : 1, digits: text.replace(/^[-+]/, '').split(':') };
}

function integer(text: string): bigint {
  const { sign, digits } = parts(text);
  const [first = '0'] = digits;
  const value =
    digits.length > 1
      ? digits.reduce((total, digit) => total * 60n + BigInt(digit), 0n)
      : BigInt(/^0[0-7]+$/.test(first) ? `0o${first.slice(1)}` : first);
  return sign < 0 ? -value : value;
}

function fraction(text: string): number {
  if (/\.nan$/i.test(text)) return Number.NaN;
  const { sign, digits } = parts(text);
  if (/^\.inf$/i.test(digits[0] ?? '')) return sign * Number.POSITIVE_INFINITY;
  return sign * digits.reduce((total, digit) => total * 60 + Number(digit), 0);
}

/** Python reads a number with an exponent only if there is a point and a sign too. */
function fractionText(value: number): string {
  if (Number.isNaN(value)) return '.nan';
  if (!Number.isFinite(value)) return value > 0 ? '.inf' : '-.inf';
  const text = String(value);
  return text.includes('.') || Number.isSafeInteger(value)
    ? text
    : text.includes('e')
      ? text.replace('e', '.0e')
      : `${text}.0`;
}

const MERGE = 'tag:yaml.org,2002:merge';

function pythonTags(tags: Tags): Tags {
  return [
    ...OWN_TAGS,
    ...tags.filter((tag) => typeof tag === 'string' || !OWN_TAGS.some((own) => own.tag === tag.tag)),
  ];
}

const OPTIONS: DocumentOptions & SchemaOptions = { version: '1.1', customTags: pythonTags };

/**
 * YAML as Python's `yaml.safe_load` and `safe_dump` have it: version 1.1 with PyYAML's own idea of numbers and words
 * (`y` and `1e5` are texts). No tags but those of YAML itself. Source: yaml/resolver.py.
 */
export const yaml: Serializer = {
  name: 'yaml',
  contentType: 'application/x-yaml',
  contentEncoding: 'utf-8',
  encode(value) {
    try {
      const text = stringify(value ?? null, {
        ...OPTIONS,
        customTags: (tags) =>
          pythonTags(tags).filter((tag) => tag !== 'merge' && (typeof tag === 'string' || tag.tag !== MERGE)),
        merge: false,
        aliasDuplicateObjects: false,
        // Which unquoted texts both sides read alike is a long story; PyYAML refuses some that the library writes.
        defaultStringType: 'QUOTE_DOUBLE',
        defaultKeyType: 'QUOTE_DOUBLE',
        lineWidth: 0,
      });
      // Line breaks to YAML 1.1, which folds them; they can only stand in quotes here.
      return text.replace(
        /[\u0085\u2028\u2029]/g,
        (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
      );
    } catch (cause) {
      throw new EncodeError('The value cannot be written as YAML.', { cause });
    }
  },
  decode(data, { maxDepth }) {
    const document = parseDocument(utf8Text(data), { ...OPTIONS, logLevel: 'silent' });
    // A tag that is unknown is only a warning to the library, and an error to Python.
    const [error] = [...document.errors, ...document.warnings];
    if (error !== undefined) throw error;
    return normalize(document.toJS({ maxAliasCount: 100 }), maxDepth);
  },
};
