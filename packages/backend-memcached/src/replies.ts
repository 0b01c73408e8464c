import type { LineProtocol } from '@lovage/core/transport';

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

/** Items, each a line with data, and the line that ends the reply. Source: memcached/doc/protocol.txt. */
export class Replies implements LineProtocol<Reply> {
  #items: Map<string, Item> | undefined;

  dataBytes(line: string): number | undefined {
    return line.startsWith('VALUE ') ? Number(line.split(' ')[3]) : undefined;
  }

  reply(line: string, value: Buffer | undefined): Reply | undefined {
    if (value === undefined) {
      // What follows may be out of step: the data of a command that was not understood is read as more commands.
      if (line === 'ERROR' || line === 'CLIENT_ERROR bad data chunk') {
        throw new Error(`it did not understand a command (${line})`);
      }
      const items = this.#items ?? NO_ITEMS;
      this.#items = undefined;
      return { line, items };
    }
    const [, key = '', flags, , cas = ''] = line.split(' ');
    this.#items ??= new Map();
    this.#items.set(key, { value, flags: Number(flags), cas });
    return undefined;
  }
}
