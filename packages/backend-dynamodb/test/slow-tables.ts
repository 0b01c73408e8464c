import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Carried over to the server. */
const HEADERS = ['authorization', 'content-type', 'x-amz-date', 'x-amz-target'] as const;

/** A way to DynamoDB on which tables take the time that Amazon takes, as long as the test wants. */
export class SlowTables {
  /** What is asked of a table says that it is being made. */
  isMaking = true;
  /** Requests of this kind wait for {@link release}. */
  holds: string | undefined;
  release: () => void = () => {};
  readonly #released: Promise<void> = new Promise((resolve) => {
    this.release = resolve;
  });
  readonly #seen = new Map<string, number>();
  readonly #target: number;
  readonly #proxy = createServer((request, response) => void this.#answer(request, response));

  constructor(target: number) {
    this.#target = target;
  }

  async listen(): Promise<number> {
    this.#proxy.listen(0, '127.0.0.1');
    await once(this.#proxy, 'listening');
    return (this.#proxy.address() as AddressInfo).port;
  }

  close(): void {
    this.#proxy.closeAllConnections();
    this.#proxy.close();
  }

  /** How many requests of this kind have come for a table. */
  seen(kind: string, table: string): number {
    return this.#seen.get(`${kind} ${table}`) ?? 0;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const body = Buffer.concat((await request.toArray()) as Buffer[]);
      const kind = String(request.headers['x-amz-target']).replace(/.*\./, '');
      const { TableName } = JSON.parse(body.toString()) as { readonly TableName?: string };
      this.#seen.set(`${kind} ${TableName}`, this.seen(kind, String(TableName)) + 1);
      if (kind === this.holds) await this.#released;
      const headers = HEADERS.map((name): [string, string] => [name, String(request.headers[name])]);
      const answer = await fetch(`http://127.0.0.1:${this.#target}/`, { method: 'POST', headers, body });
      const text = await answer.text();
      response.writeHead(answer.status, { 'content-type': 'application/x-amz-json-1.0' });
      response.end(kind === 'DescribeTable' && this.isMaking ? text.replace('"ACTIVE"', '"CREATING"') : text);
    } catch {
      response.destroy();
    }
  }
}
