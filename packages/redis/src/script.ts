import { createHash } from 'node:crypto';
import { isLovageError } from '@lovage/core/transport';
import { replyCode } from './errors.ts';
import type { RedisLink, Reply } from './link.ts';

/** A Lua script that is sent by its hash, and in full when the server does not know it (yet, or after SCRIPT FLUSH). */
export class RedisScript {
  readonly #source: string;
  readonly #sha: string;

  constructor(source: string) {
    this.#source = source;
    this.#sha = createHash('sha1').update(source).digest('hex');
  }

  /**
   * Runs the script once; text of the reply as bytes. `keysAndArgs` begins with the `keyCount` keys. Rejects as
   * {@link RedisLink.bytes}.
   */
  async run(link: RedisLink, keyCount: number, keysAndArgs: readonly (string | number | Uint8Array)[]): Promise<Reply> {
    try {
      return await link.bytes('evalsha', [this.#sha, keyCount, ...keysAndArgs]);
    } catch (error) {
      // A script that is not known has done nothing: sending it again cannot do it twice.
      if (!isLovageError(error) || replyCode(error.cause) !== 'NOSCRIPT') throw error;
      return link.bytes('eval', [this.#source, keyCount, ...keysAndArgs]);
    }
  }
}
