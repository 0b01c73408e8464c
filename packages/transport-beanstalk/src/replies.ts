/** One answer of beanstalkd: `RESERVED 5 12` is the word `RESERVED`, the arguments `['5', '12']`, and a body of 12 bytes. */
export interface Reply {
  readonly word: string;
  readonly args: readonly string[];
  readonly body: Buffer | undefined;
}

/** No line of the protocol is longer; more is not beanstalkd. */
const MAX_LINE_BYTES = 1024;
/** Words that a body follows, with the place of its size. Source: beanstalkd/doc/protocol.txt. */
const WITH_BODY: ReadonlyMap<string, number> = new Map([
  ['OK', 0],
  ['RESERVED', 1],
  ['FOUND', 1],
]);

/** Cuts what arrives into replies, wherever the network cut it. Throws for what is no reply. */
export class ReplyReader {
  readonly #chunks: Buffer[] = [];
  #length = 0;
  /** With fewer bytes there is nothing to read yet. */
  #needed = 2;
  #head: { readonly word: string; readonly args: readonly string[]; readonly size: number } | undefined;

  /** The replies that are complete now. */
  read(chunk: Buffer): readonly Reply[] {
    this.#chunks.push(chunk);
    this.#length += chunk.length;
    if (this.#length < this.#needed) return [];
    let data = this.#chunks.length === 1 ? chunk : Buffer.concat(this.#chunks);
    const replies: Reply[] = [];
    for (;;) {
      const used = this.#next(data, replies);
      if (used === 0) break;
      data = data.subarray(used);
    }
    this.#chunks.splice(0, this.#chunks.length, data);
    this.#length = data.length;
    return replies;
  }

  /** How many bytes were used; 0: there are too few. */
  #next(data: Buffer, replies: Reply[]): number {
    if (this.#head === undefined) return this.#readHead(data, replies);
    const { word, args, size } = this.#head;
    if (data.length < size + 2) {
      this.#needed = size + 2;
      return 0;
    }
    if (data[size] !== 13 || data[size + 1] !== 10) throw new Error('a body does not end where it should');
    replies.push({ word, args, body: data.subarray(0, size) });
    this.#head = undefined;
    this.#needed = 2;
    return size + 2;
  }

  #readHead(data: Buffer, replies: Reply[]): number {
    const end = data.indexOf('\r\n');
    if (end < 0) {
      if (data.length > MAX_LINE_BYTES) throw new Error('a line does not end');
      this.#needed = data.length + 1;
      return 0;
    }
    const [word = '', ...args] = data.toString('latin1', 0, end).split(' ');
    if (!/^[A-Z_]+$/.test(word)) throw new Error('this is not a reply of beanstalkd');
    const place = WITH_BODY.get(word);
    if (place === undefined) replies.push({ word, args, body: undefined });
    else {
      const size = Number(args[place]);
      if (!Number.isInteger(size) || size < 0) throw new Error(`the reply ${word} has no size`);
      this.#head = { word, args, size };
    }
    this.#needed = 2;
    return end + 2;
  }
}

/** The flat YAML of the `stats` commands. */
export function readStats(body: Buffer): ReadonlyMap<string, string> {
  const stats = new Map<string, string>();
  for (const line of body.toString('utf8').split('\n')) {
    const match = /^([\w-]+): (.*)$/.exec(line);
    if (match?.[1] !== undefined && match[2] !== undefined) stats.set(match[1], match[2].replace(/^"(.*)"$/, '$1'));
  }
  return stats;
}
