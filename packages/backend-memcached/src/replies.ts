/** One item as a server gives it. */
export interface Item {
  readonly value: Buffer;
  readonly flags: number;
  /** Another one after each write of the item. */
  readonly cas: string;
}

/** The answer to one command: its line, and the items that came before it. */
export interface Reply {
  /** `STORED`, `END`, `12`, `SERVER_ERROR object too large for cache` ... */
  readonly line: string;
  readonly items: ReadonlyMap<string, Item>;
}

const NO_ITEMS: ReadonlyMap<string, Item> = new Map();
const LONGEST_LINE = 4096;
/** No item of memcached may be larger (`-I`). */
const LARGEST_VALUE = 1024 * 1024 * 1024;

/** Takes memcached's text protocol apart. Source: memcached/doc/protocol.txt. */
export class ReplyReader {
  #chunks: Buffer[] = [];
  #bytes = 0;
  /** How much has to be there before it is worth looking again. */
  #wanted = 1;
  #items: Map<string, Item> | undefined;

  /** The replies that this chunk completes. Throws where the server does not speak the protocol. */
  read(chunk: Buffer): readonly Reply[] {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    if (this.#bytes < this.#wanted) return [];
    const replies: Reply[] = [];
    let rest = this.#chunks.length === 1 ? chunk : Buffer.concat(this.#chunks);
    this.#wanted = 1;
    while (rest.length > 0) {
      const end = rest.indexOf('\r\n');
      if (end < 0) {
        if (rest.length > LONGEST_LINE) throw new Error('it sent a line without an end');
        break;
      }
      const line = rest.toString('utf8', 0, end);
      if (line.startsWith('VALUE ')) {
        const [, key, flags, size, cas = ''] = line.split(' ');
        const bytes = Number(size);
        if (key === undefined || !(bytes >= 0 && bytes <= LARGEST_VALUE)) throw new Error(`it sent "${line}"`);
        const from = end + 2;
        if (rest.length < from + bytes + 2) {
          this.#wanted = from + bytes + 2;
          break;
        }
        this.#items ??= new Map();
        this.#items.set(key, { value: rest.subarray(from, from + bytes), flags: Number(flags), cas });
        rest = rest.subarray(from + bytes + 2);
      } else {
        replies.push({ line, items: this.#items ?? NO_ITEMS });
        this.#items = undefined;
        rest = rest.subarray(end + 2);
      }
    }
    this.#chunks = rest.length === 0 ? [] : [rest];
    this.#bytes = rest.length;
    return replies;
  }
}
