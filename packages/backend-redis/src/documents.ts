import type { DocumentStore, StoredDocument } from '@lovage/core/backend';
import { type RedisLink, RedisScript } from '@lovage/redis';

/** KEYS: the document. ARGV: version it must have (empty: none), new version, text, TTL (0: none). */
const WRITE = new RedisScript(`
local version = redis.call('HGET', KEYS[1], 'version')
if (version or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'version', ARGV[2], 'text', ARGV[3])
if ARGV[4] == '0' then redis.call('PERSIST', KEYS[1]) else redis.call('EXPIRE', KEYS[1], ARGV[4]) end
return 1
`);

/** A hash of version and text for each document. */
export class RedisDocuments implements DocumentStore {
  readonly #link: RedisLink;

  constructor(link: RedisLink) {
    this.#link = link;
  }

  async read(name: string): Promise<StoredDocument | undefined> {
    const [version, text] = (await this.#link.text('hmget', [name, 'version', 'text'])) as readonly (string | null)[];
    return version == null || text == null ? undefined : { version, text };
  }

  async write(
    name: string,
    text: string,
    over: string | undefined,
    { ttlSeconds = 0 }: { readonly ttlSeconds?: number } = {},
  ): Promise<string | undefined> {
    const version = String(Number(over ?? '0') + 1);
    const isWritten = await WRITE.run(this.#link, 1, [name, over ?? '', version, text, ttlSeconds]);
    return isWritten === 1 ? version : undefined;
  }
}
