import { parse, stringify } from 'yaml';
import { EncodeError } from '../errors.ts';
import type { Serializer } from './registry.ts';
import { normalize } from './normalize.ts';
import { utf8Text } from './text.ts';

/** YAML 1.1, which is what Python's `yaml.safe_load` and `safe_dump` speak. Tags of its own types only. */
export const yaml: Serializer = {
  name: 'yaml',
  contentType: 'application/x-yaml',
  contentEncoding: 'utf-8',
  encode(value) {
    try {
      return stringify(value ?? null, { version: '1.1', aliasDuplicateObjects: false });
    } catch (cause) {
      throw new EncodeError('The value cannot be written as YAML.', { cause });
    }
  },
  decode(data, { maxDepth }) {
    const value: unknown = parse(utf8Text(data), {
      version: '1.1',
      intAsBigInt: true,
      maxAliasCount: 100,
      logLevel: 'error',
    });
    return normalize(value, maxDepth);
  },
};
