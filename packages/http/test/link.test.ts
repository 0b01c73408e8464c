import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { inspect } from 'node:util';
import { isLovageError } from '@lovage/core/transport';
import { HttpLink, type HttpLinkOptions, type HttpOpenOptions, openHttpLink } from '@lovage/http';
import { afterEach, describe, expect, test } from 'vitest';

const servers: Server[] = [];
const links: HttpLink[] = [];

afterEach(() => {
  for (const link of links.splice(0)) link.close();
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

async function serve(answer: RequestListener): Promise<string> {
  const server = createServer(answer).listen(0, '127.0.0.1');
  servers.push(server);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return `http://127.0.0.1:${port}`;
}

async function linkTo(answer: RequestListener, options: HttpLinkOptions = {}): Promise<HttpLink> {
  return link(await serve(answer), options);
}

function link(origin: string, options: HttpLinkOptions = {}): HttpLink {
  const headers = { authorization: 'OAuth secret' };
  const made = new HttpLink({ service: 'Test', origin, headers, tls: undefined, url: origin }, options);
  links.push(made);
  return made;
}

const get = { method: 'GET', path: '/' } as const;

async function failure(promise: Promise<unknown>): Promise<Error> {
  const [result] = await Promise.allSettled([promise]);
  if (result.status === 'fulfilled') throw new Error('it resolved');
  expect(inspect(result.reason, { depth: 10 })).not.toContain('secret');
  return result.reason as Error;
}

describe('a link over HTTP', () => {
  test('sends its headers and JSON, and gives status and JSON back', async () => {
    const seen: unknown[] = [];
    const made = await linkTo((request, reply) => {
      let body = '';
      request.on('data', (chunk: Buffer) => (body += chunk.toString()));
      request.on('end', () => {
        seen.push(request.method, request.url, request.headers.authorization, JSON.parse(body));
        reply.writeHead(404).end('{"a": 1}');
      });
    });
    const reply = await made.request({ method: 'POST', path: '/x?y=1', body: { z: [1] } });
    expect(reply).toEqual({ status: 404, body: { a: 1 }, attempts: 1 });
    expect(seen).toEqual(['POST', '/x?y=1', 'OAuth secret', { z: [1] }]);
  });

  test.each([500, 502, 503, 504, 429])('%i is asked again, and the answer says how often', async (status) => {
    let count = 0;
    const made = await linkTo((_, reply) => reply.writeHead(++count < 3 ? status : 200).end('{}'));
    expect(await made.request(get)).toEqual({ status: 200, body: {}, attempts: 3 });
  });

  test('waits for as long as Retry-After says', async () => {
    const times: number[] = [];
    const made = await linkTo((_, reply) => {
      times.push(performance.now());
      reply.writeHead(times.length === 1 ? 429 : 200, { 'retry-after': '1' }).end('{}');
    });
    await made.request(get);
    expect((times[1] as number) - (times[0] as number)).toBeGreaterThanOrEqual(990);
  });

  test('a server that stays too busy is a BrokerBlockedError, and the link lives on', async () => {
    let isBusy = true;
    const made = await linkTo((_, reply) => reply.writeHead(isBusy ? 503 : 200).end('{}'), { patienceMs: 100 });
    expect(isLovageError(await failure(made.request(get)), 'ERR_BLOCKED')).toBe(true);
    isBusy = false;
    expect((await made.request(get)).status).toBe(200);
  });

  test('a Retry-After beyond its patience is not waited for', async () => {
    const made = await linkTo((_, reply) => reply.writeHead(503, { 'retry-after': '3600' }).end(), { patienceMs: 100 });
    expect(isLovageError(await failure(made.request(get)), 'ERR_BLOCKED')).toBe(true);
  });

  test('401 is an AuthError', async () => {
    const made = await linkTo((_, reply) => reply.writeHead(401).end('{}'));
    expect(isLovageError(await failure(made.request(get)), 'ERR_AUTH')).toBe(true);
  });

  test('nobody there is a ConnectError', async () => {
    expect(isLovageError(await failure(link('http://127.0.0.1:1').request(get)), 'ERR_CONNECT')).toBe(true);
  });

  test.each<[string, RequestListener]>([
    ['before the answer', (request) => request.socket.destroy()],
    [
      'in the middle of the answer',
      (request, reply) => {
        reply.writeHead(200, { 'content-length': '100' }).write('{"half":', () => request.socket.destroy());
      },
    ],
    ['never, by silence', () => {}],
  ])('a connection that ends %s is a loss, once and for all', async (_, fault) => {
    let isFaulty = false;
    const made = await linkTo(
      (request, reply) => {
        if (isFaulty) fault(request, reply);
        else reply.end('{}');
      },
      { silenceMs: 500 },
    );
    await made.request(get);
    isFaulty = true;
    expect(isLovageError(await failure(made.request(get)), 'ERR_CONNECTION_LOST')).toBe(true);
    isFaulty = false;
    expect(isLovageError(await failure(made.lost), 'ERR_CONNECTION_LOST')).toBe(true);
    expect(isLovageError(await failure(made.request(get)), 'ERR_CONNECTION_LOST')).toBe(true);
  });

  test('an aborted request rejects with the reason, and the link lives on', async () => {
    const made = await linkTo((request, reply) => {
      if (request.url === '/') reply.end('{}');
    });
    const reason = new Error('enough');
    await expect(made.request({ method: 'GET', path: '/silent', signal: AbortSignal.timeout(20) })).rejects.toThrow();
    await expect(made.request({ ...get, signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    expect((await made.request(get)).status).toBe(200);
  });

  test('close() ends what waits with a ClosedError', async () => {
    const made = await linkTo(() => {});
    const waiting = failure(made.request(get));
    made.close();
    expect(isLovageError(await waiting, 'ERR_CLOSED')).toBe(true);
    expect(isLovageError(await failure(made.request(get)), 'ERR_CLOSED')).toBe(true);
  });
});

describe('opening', () => {
  async function open(answer: RequestListener, options: HttpOpenOptions = {}) {
    const origin = await serve(answer);
    const greeted: HttpLink[] = [];
    const opening = openHttpLink(
      { service: 'Test', origin, headers: { authorization: 'OAuth secret' }, tls: undefined, url: origin },
      options,
      async (made, signal) => {
        greeted.push(made);
        links.push(made);
        return { made, status: (await made.request({ ...get, signal })).status };
      },
    );
    return {
      opening,
      isClosed: async () => isLovageError(await failure((greeted[0] as HttpLink).request(get)), 'ERR_CLOSED'),
    };
  }

  test('resolves with what the greeting does, and the link goes on', async () => {
    const { opening } = await open((_, reply) => reply.writeHead(404).end('{}'), { connectTimeoutMs: 20_000 });
    const { made, status } = await opening;
    expect(status).toBe(404);
    expect((await made.request(get)).status).toBe(404);
  });

  test.each<[string, RequestListener, HttpOpenOptions, RegExp]>([
    ['is silent', () => {}, { connectTimeoutMs: 100 }, /^Test at .* did not answer within 100 ms/],
    ['is too busy', (_, reply) => reply.writeHead(503).end(), { patienceMs: 100 }, /too busy/],
  ])('a service that %s cannot be reached, and nothing is left open', async (_, answer, options, message) => {
    const { opening, isClosed } = await open(answer, options);
    const error = await failure(opening);
    expect(isLovageError(error, 'ERR_CONNECT')).toBe(true);
    expect(error.message).toMatch(message);
    expect(await isClosed()).toBe(true);
  });

  test('rejects with the reason of an abort', async () => {
    const controller = new AbortController();
    const reason = new Error('enough');
    const { opening, isClosed } = await open(() => controller.abort(reason), { signal: controller.signal });
    await expect(opening).rejects.toBe(reason);
    expect(await isClosed()).toBe(true);
    await expect((await open(() => {}, { signal: controller.signal })).opening).rejects.toBe(reason);
  });
});
