const LONGEST_LINE = 1024;
const MOST_DATA_BYTES = 1024 * 1024 * 1024;
const [CR, LF] = [13, 10];

/** How a server's replies are made of lines. One for each connection: it may remember what has come. */
export interface LineProtocol<Reply> {
  /** How many bytes of data come behind this line, with a line end of their own; undefined: none. */
  dataBytes(line: string): number | undefined;
  /**
   * The reply that this line completes with its data; undefined where more lines belong to it. Throws for what is no line
   * of the protocol, and for one after which no reply would be in step with its command.
   */
  reply(line: string, data: Buffer | undefined): Reply | undefined;
}

/** Makes replies of what a server sends, wherever the network cut it. */
export class LineReader<Reply> {
  readonly #protocol: LineProtocol<Reply>;
  #chunks: Buffer[] = [];
  #bytes = 0;
  /** With fewer bytes there is nothing to see yet. */
  #wanted = 0;

  constructor(protocol: LineProtocol<Reply>) {
    this.#protocol = protocol;
  }

  /** The replies that this chunk completes. Throws where the server does not speak the protocol. */
  *read(chunk: Buffer): Generator<Reply, void> {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    if (this.#bytes < this.#wanted) return;
    this.#wanted = 0;
    let rest = this.#chunks.length === 1 ? chunk : Buffer.concat(this.#chunks);
    for (;;) {
      const end = rest.indexOf('\r\n');
      if (end > LONGEST_LINE || (end < 0 && rest.length > LONGEST_LINE))
        throw new Error('it sent a line without an end');
      if (end < 0) break;
      const line = rest.toString('utf8', 0, end);
      const from = end + 2;
      const dataBytes = this.#protocol.dataBytes(line);
      let reply: Reply | undefined;
      if (dataBytes === undefined) {
        reply = this.#protocol.reply(line, undefined);
        rest = rest.subarray(from);
      } else {
        if (!(dataBytes >= 0 && dataBytes <= MOST_DATA_BYTES)) throw new Error(`it sent ${JSON.stringify(line)}`);
        const to = from + dataBytes;
        if (rest.length < to + 2) {
          this.#wanted = to + 2;
          break;
        }
        if (rest[to] !== CR || rest[to + 1] !== LF) throw new Error('it sent data that does not end where it should');
        reply = this.#protocol.reply(line, rest.subarray(from, to));
        rest = rest.subarray(to + 2);
      }
      if (reply !== undefined) yield reply;
    }
    this.#chunks = rest.length === 0 ? [] : [rest];
    this.#bytes = rest.length;
  }
}
