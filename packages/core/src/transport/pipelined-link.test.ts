import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { LineProtocol } from './line-reader.ts';
import { openPipelinedLink, type PipelinedLink, type PipelinedLinkOptions } from './pipelined-link.ts';

const WORDS: LineProtocol<string> = {
  dataBytes: () => undefined,
  reply: (line) => {
    if (line === 'WHAT') throw new Error('it did not understand a command');
    return line;
  },
};

/** A server on this machine that does so with each line it gets. */
async function serve(answer: (line: string, socket: Socket) => void) {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => undefined);
    socket.on('data', (data) => {
      for (const line of data.toString().split('\r\n').slice(0, -1)) answer(line, socket);
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  const { port } = server.address() as AddressInfo;
  /** Resolves when the client has left. */
  const left = async (): Promise<void> => {
    const [socket = (await once(server, 'connection'))[0] as Socket] = sockets;
    if (!socket.closed) await once(socket, 'close');
  };
  const open = async (
    options: Partial<PipelinedLinkOptions<string>> = {},
    greet: (link: PipelinedLink<string>) => Promise<PipelinedLink<string>> = async (link) => link,
  ): Promise<PipelinedLink<string>> => {
    const link = await openPipelinedLink(
      {
        socket: connect({ host: '127.0.0.1', port }),
        protocol: WORDS,
        server: 'the server',
        facts: { url: 'x://' },
        connectTimeoutMs: 30_000,
        silenceMs: 30_000,
        ...options,
      },
      greet,
    );
    onTestFinished(() => link.close());
    return link;
  };
  return { open, left, port };
}

const lost = { code: 'ERR_CONNECTION_LOST', url: 'x://' };

describe('commands', () => {
  test('are answered in their order', async () => {
    const seen: string[] = [];
    const { open } = await serve((line, socket) => {
      seen.push(line);
      if (line !== 'data') socket.write(`got ${line}\r\n`);
    });
    const link = await open();
    const data = Buffer.from('data');
    const replies = await Promise.all([link.command('a', { data }), link.command('b'), link.command('c')]);
    expect(replies).toEqual(['got a', 'got b', 'got c']);
    expect(seen).toEqual(['a', 'data', 'b', 'c']);
  });

  test('all end when one was not understood, and what was answered before is kept', async () => {
    const { open, left } = await serve((_, socket) => void socket.write('OK\r\nWHAT\r\nOK\r\n'));
    const link = await open();
    const [first, ...others] = await Promise.allSettled(['a', 'b', 'c'].map((line) => link.command(line)));
    expect(first).toEqual({ status: 'fulfilled', value: 'OK' });
    expect(others).toMatchObject([
      { status: 'rejected', reason: lost },
      { status: 'rejected', reason: lost },
    ]);
    await expect(link.lost).rejects.toThrow('The connection to the server was lost: it did not understand a command');
    await expect(link.command('d')).rejects.toMatchObject(lost);
    await left();
  });

  test('are answered, not talked over', async () => {
    const { open } = await serve((_, socket) => void socket.write('OK\r\nOK\r\n'));
    const link = await open();
    expect(await link.command('a')).toBe('OK');
    await expect(link.lost).rejects.toThrow(/nobody had asked/);
  });

  test('end with the connection', async () => {
    const { open } = await serve((_, socket) => void socket.end());
    const link = await open();
    await expect(link.command('a')).rejects.toThrow(/the server closed the connection/);
    await expect(link.lost).rejects.toMatchObject(lost);
  });

  test('are refused after a close, those under way too', async () => {
    const { open, left } = await serve(() => undefined);
    const link = await open();
    const pending = link.command('a');
    link.close();
    link.close();
    link.fail(new Error('too late'));
    for (const command of [pending, link.command('b')]) {
      await expect(command).rejects.toMatchObject({ code: 'ERR_CLOSED', url: 'x://' });
    }
    await left();
  });
});

describe('silence', () => {
  test('of a server that owes an answer is a loss', async () => {
    const { open, left } = await serve(() => undefined);
    const link = await open({ silenceMs: 50 });
    await expect(link.command('a')).rejects.toThrow(/it said nothing for 50 ms/);
    await expect(link.lost).rejects.toMatchObject(lost);
    await left();
  });

  test('that was asked for is none', async () => {
    const { open } = await serve((line, socket) => void setTimeout(() => socket.write(`${line}\r\n`), 250));
    const link = await open({ silenceMs: 50 });
    expect(await link.command('wait', { waitMs: 300 })).toBe('wait');
  });

  test('of an idle link is broken by questions', async () => {
    const seen: string[] = [];
    const { open } = await serve((line, socket) => {
      if (seen.push(line) < 4) socket.write('OK\r\n');
    });
    const link = await open({ silenceMs: 50, probe: 'PROBE' });
    await expect(link.lost).rejects.toThrow(/it said nothing/);
    expect(seen).toEqual(['PROBE', 'PROBE', 'PROBE', 'PROBE']);
  });
});

describe('opening', () => {
  test('resolves with what the greeting does', async () => {
    const { open } = await serve((line, socket) => void socket.write(`${line}\r\n`));
    let said = '';
    const link = await open({}, async (greeted) => {
      said = await greeted.command('HELLO');
      return greeted;
    });
    expect(said).toBe('HELLO');
    expect(await link.command('a')).toBe('a');
  });

  test('fails in time, and leaves nothing open', async () => {
    const { open, left } = await serve(() => undefined);
    const opening = open({ connectTimeoutMs: 50 }, async (link) => {
      await link.command('HELLO');
      return link;
    });
    await expect(opening).rejects.toMatchObject({
      code: 'ERR_CONNECT',
      message: 'the server could not be reached: it did not answer within 50 ms',
      url: 'x://',
    });
    await left();
  });

  test('is a ConnectError where nobody is, and where the link breaks', async () => {
    const { open } = await serve((_, socket) => socket.destroy());
    const opening = open({}, async (link) => {
      await link.command('HELLO');
      return link;
    });
    await expect(opening).rejects.toMatchObject({ code: 'ERR_CONNECT' });
    const vacant = createServer().listen(0, '127.0.0.1');
    await once(vacant, 'listening');
    const { port } = vacant.address() as AddressInfo;
    vacant.close();
    await once(vacant, 'close');
    await expect(open({ socket: connect({ host: '127.0.0.1', port }) })).rejects.toMatchObject({
      code: 'ERR_CONNECT',
      message: expect.stringMatching(/^the server could not be reached: .*ECONNREFUSED/),
    });
  });

  test('rejects with the reason of an abort, or of the greeting', async () => {
    const { open, left } = await serve(() => undefined);
    const controller = new AbortController();
    const aborted = open({ signal: controller.signal }, async (link) => {
      controller.abort(new Error('no more'));
      await link.command('HELLO');
      return link;
    });
    await expect(aborted).rejects.toThrow('no more');
    await left();
    await expect(open({ signal: AbortSignal.abort(new Error('never')) })).rejects.toThrow('never');
    await expect(open({}, () => Promise.reject(new Error('wrong server')))).rejects.toThrow('wrong server');
  });
});
