import { createHash } from 'node:crypto';

/** The server takes 255 characters; Kombu stops here. */
const MAX_NAME_LENGTH = 240;
const HASH_LENGTH = 12;

/** What is not printable in Python's sense, white space, and what may not stand in the name of a stream. */
const UNFIT = /[\p{C}\p{Z}.*>/\\]/u;
const EACH_UNFIT = new RegExp(UNFIT.source, 'gu');

/**
 * The name of a stream or consumer: as it is where the server takes it, else readable with a hash behind. Source: celery/kombu
 * pull request 2653, normalize_js_resource_name. Longer names than it knows get the hash too.
 */
export function resourceName(name: string): string {
  if (name !== '' && !UNFIT.test(name) && name.length <= MAX_NAME_LENGTH) return name;
  const digest = createHash('sha1').update(name).digest('hex').slice(0, HASH_LENGTH);
  const stem = name.replace(EACH_UNFIT, '_').replace(/^_+|_+$/g, '') || 'js';
  return `${Array.from(stem)
    .slice(0, MAX_NAME_LENGTH - HASH_LENGTH - 2)
    .join('')}__${digest}`;
}

/** One token of a subject for any text, reversible: what is no letter, digit, `_` or `-` is `=` and its hex bytes. */
export function subjectToken(name: string): string {
  return name.replace(/[^A-Za-z0-9_-]/gu, (char) =>
    [...Buffer.from(char)].map((byte) => `=${byte.toString(16).padStart(2, '0')}`).join(''),
  );
}
