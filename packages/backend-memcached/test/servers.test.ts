import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer as createTlsServer } from 'node:tls';
import { deflateSync } from 'node:zlib';
import { freePort, type ServerProcess, startServerProcess } from '@lovage/conformance';
import { type ChordStore, isLovageError, type ResultBackend } from '@lovage/core/backend';
import { afterAll, describe, expect, onTestFinished, test } from 'vitest';
import { serviceUrl } from '../../conformance/test/service-url.ts';
import { meta, openStore } from './store.ts';

const program = process.env['LOVAGE_TEST_MEMCACHED_SERVER'];
const url = serviceUrl('memcached') ?? '';
const folder = mkdtempSync(join(tmpdir(), 'lovage-backend-memcached-'));
chmodSync(folder, 0o755);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A memcached of its own, until the test ends or `stop` is called. */
async function start(port: number, args: readonly string[] = []): Promise<ServerProcess> {
  const user = process.getuid?.() === 0 ? ['-u', 'nobody'] : [];
  const own = ['-l', '127.0.0.1', '-p', String(port), '-U', '0', '-m', '16', ...user, ...args];
  const server = await startServerProcess(program as string, { args: () => own, port });
  onTestFinished(() => server.stop());
  return server;
}

/** Asks a server how many connections it has had, over one of its own. */
async function connectionCounter(port: number): Promise<() => Promise<number>> {
  const socket = connect(port, '127.0.0.1');
  onTestFinished(() => void socket.destroy());
  await once(socket, 'connect');
  return async () => {
    socket.write('stats\r\n');
    let text = '';
    while (!text.includes('END\r\n')) text += String(((await once(socket, 'data')) as [Buffer])[0]);
    return Number(/STAT total_connections (\d+)/.exec(text)?.[1]);
  };
}

async function opened(...call: Parameters<typeof openStore>): Promise<ResultBackend> {
  const store = await openStore(...call);
  onTestFinished(() => store.close());
  return store;
}

describe.skipIf(program === undefined)('several servers', () => {
  test('one that is away takes along its own keys only, and gives them back', async () => {
    const ports = [await freePort(), await freePort(), await freePort()];
    const [, second] = await Promise.all(ports.map((port) => start(port)));
    const store = await opened(`cache+memcached://${ports.map((port) => `127.0.0.1:${port}`).join(';')}/`);
    const ids = Array.from({ length: 30 }, () => randomUUID());
    await store.store(ids.map((id) => ({ meta: meta(id, 'STARTED') })));
    const connections = await connectionCounter(ports[0] as number);
    const before = await connections();
    await second?.stop();
    const outcomes = await Promise.all(
      ids.map((id) =>
        store.store([{ meta: meta(id, 'SUCCESS', id) }]).then(
          () => id,
          (error: unknown) => error,
        ),
      ),
    );
    const kept = outcomes.filter((outcome) => typeof outcome === 'string');
    const refused = outcomes.filter((outcome) => typeof outcome !== 'string');
    expect(kept.length).toBeGreaterThan(10);
    expect(refused.length).toBeGreaterThan(3);
    for (const error of refused) expect(isLovageError(error) && error.retryable).toBe(true);
    expect((await store.load(kept)).map((each) => each?.result)).toEqual(kept);
    // The links to the others were not opened again for it.
    expect(await connections()).toBe(before);
    // It comes back, empty, and is found again.
    await start(ports[1] as number);
    const lost = ids.filter((id) => !kept.includes(id));
    await expect
      .poll(() => store.store(lost.map((id) => ({ meta: meta(id, 'SUCCESS', id) }))).then(() => 'kept', String), {
        timeout: 10_000,
      })
      .toBe('kept');
    expect((await store.load(ids)).map((each) => each?.result)).toEqual(ids);
  });

  test('none of them there is a ConnectError', async () => {
    const [one, other] = [await freePort(), await freePort()];
    await expect(openStore(`cache+memcached://127.0.0.1:${one};127.0.0.1:${other}`)).rejects.toMatchObject({
      code: 'ERR_CONNECT',
    });
  });
});

describe.skipIf(program === undefined)('access', () => {
  test('with credentials, and an AuthError with wrong ones or none', async () => {
    const port = await freePort();
    const file = join(folder, 'users');
    writeFileSync(file, 'ada:secret-word\n', { mode: 0o644 });
    await start(port, ['-Y', file]);
    const at = `cache+memcached://127.0.0.1:${port}/`;
    const store = await opened(at, { username: 'ada', password: 'secret-word' });
    await store.store([{ meta: meta('a', 'SUCCESS', 1) }]);
    expect((await store.load(['a']))[0]?.result).toBe(1);
    for (const options of [{ username: 'ada', password: 'other' }, {}]) {
      const error: unknown = await openStore(at, options).catch((thrown: unknown) => thrown);
      expect(isLovageError(error, 'ERR_AUTH')).toBe(true);
      expect(String(error)).not.toMatch(/secret|other/);
    }
  });

  test('over TLS, verified', async () => {
    const subject = ['-subj', '/CN=memcached', '-addext', 'subjectAltName=IP:127.0.0.1'];
    const paths = { key: join(folder, 'key.pem'), cert: join(folder, 'cert.pem') };
    const args = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];
    execFileSync('openssl', [...args, '-keyout', paths.key, '-out', paths.cert, ...subject], { stdio: 'ignore' });
    // Debian's memcached is built without TLS: it ends in front of it, as it does with stunnel.
    const target = new URL(url.replace('cache+memcached', 'http'));
    const proxy = createTlsServer({ key: readFileSync(paths.key), cert: readFileSync(paths.cert) }, (client) => {
      const server = connect(Number(target.port), target.hostname);
      client.pipe(server).pipe(client);
      for (const socket of [client, server]) socket.on('error', () => socket.destroy());
    }).listen(0, '127.0.0.1');
    proxy.on('tlsClientError', () => {});
    await once(proxy, 'listening');
    onTestFinished(() => void proxy.close());
    const at = `cache+memcached://127.0.0.1:${(proxy.address() as { port: number }).port}`;
    const store = await opened(at, { ssl: { ca_certs: paths.cert } });
    const id = randomUUID();
    await store.store([{ meta: meta(id, 'SUCCESS', 1) }]);
    expect((await store.load([id]))[0]?.result).toBe(1);
    await expect(openStore(at, { ssl: true })).rejects.toMatchObject({ code: 'ERR_CONNECT' });
  });

  test('what is no memcached is named, and a port that says nothing is not waited for', async () => {
    const web = createServer((socket) => void socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')).listen(0, '127.0.0.1');
    const silent = createServer(() => {}).listen(0, '127.0.0.1');
    for (const server of [web, silent]) {
      if (!server.listening) await once(server, 'listening');
      onTestFinished(() => void server.close());
      const at = `cache+memcached://127.0.0.1:${(server.address() as { port: number }).port}`;
      await expect(openStore(at, { connectTimeout: 0.2 })).rejects.toMatchObject({ code: 'ERR_CONNECT' });
    }
  });
});

describe.skipIf(url === '')('items', () => {
  const part = (taskId: string) => ({ taskId, index: undefined, state: 'SUCCESS', result: taskId });
  async function withChords() {
    const backend = await opened(url);
    return {
      chords: backend.chords as ChordStore,
      store: (id: string) => backend.store([{ meta: meta(id, 'SUCCESS', id) }]),
      load: async (id: string) => (await backend.load([id]))[0]?.result,
      saveGroup: (group: string, id: string) => backend.saveGroup(group, [[group, null], [[[id, null], null]]]),
    };
  }

  test('a value that is too large is refused, that one alone, and what was kept before stays', async () => {
    const store = await opened(url);
    const [large, small] = [randomUUID(), randomUUID()];
    await store.store([{ meta: meta(large, 'STARTED') }]);
    const [refused, kept] = await Promise.allSettled([
      store.store([{ meta: meta(large, 'SUCCESS', 'x'.repeat(2_000_000)) }]),
      store.store([{ meta: meta(small, 'SUCCESS', 1) }]),
    ]);
    expect(kept.status).toBe('fulfilled');
    expect(refused).toMatchObject({ reason: { code: 'ERR_TOO_LARGE', message: expect.stringContaining('1 MB') } });
    expect((await store.load([large, small])).map((each) => each?.status)).toEqual(['STARTED', 'SUCCESS']);
  });

  test('an id that is no key is refused, and reads as nothing', async () => {
    const store = await opened(url);
    for (const id of ['a b', 'a\r\nflush_all', 'x'.repeat(300), 'a\0']) {
      await expect(store.store([{ meta: meta(id, 'SUCCESS') }])).rejects.toMatchObject({ code: 'ERR_UNSUPPORTED' });
      expect(await store.load([id])).toEqual([undefined]);
      await store.forget([id]);
    }
  });

  test('a chord whose id is no key is refused, and says nothing to the server', async () => {
    const { chords, ...store } = await withChords();
    const kept = randomUUID();
    await store.store(kept);
    for (const group of ['x\r\nflush_all\r\ngets y', 'a b', 'x'.repeat(230)]) {
      const refused = { code: 'ERR_UNSUPPORTED' };
      await expect(chords.begin(group, 1)).rejects.toMatchObject(refused);
      await expect(chords.part(group, part('t'))).rejects.toMatchObject(refused);
      await expect(chords.extend(group, 't')).rejects.toMatchObject(refused);
      await expect(chords.finish(group)).rejects.toMatchObject(refused);
    }
    expect(await store.load(kept)).toBe(kept);
  });

  test('a chord counts parts whose ids are as long as those of results may be', async () => {
    const { chords, saveGroup, store } = await withChords();
    const [group, id] = [randomUUID(), `${randomUUID()}${'x'.repeat(190)}`];
    await saveGroup(group, id);
    await chords.begin(group, 1);
    await store(id);
    expect((await chords.part(group, part(id)))?.map(({ taskId }) => taskId)).toEqual([id]);
  });

  test('what Python’s clients pack is read, and what only says that it is packed is a result that cannot be read', async () => {
    const store = await opened(url);
    const [packed, broken, whole] = [randomUUID(), randomUUID(), randomUUID()];
    const socket = connect(Number(new URL(url.replace('cache+memcached', 'http')).port), '127.0.0.1');
    for (const [id, data] of [
      [packed, deflateSync(JSON.stringify(meta(packed, 'SUCCESS', 7)))],
      [broken, Buffer.from('not packed')],
    ] as const) {
      socket.write(`set celery-task-meta-${id} 24 60 ${data.length}\r\n`);
      socket.write(Buffer.concat([data, Buffer.from('\r\n')]));
      await once(socket, 'data');
    }
    socket.destroy();
    await store.store([{ meta: meta(whole, 'SUCCESS', 8) }]);
    const seen = await store.load([packed, broken, whole]);
    expect(seen.map((each) => each?.status)).toEqual(['SUCCESS', 'FAILURE', 'SUCCESS']);
    expect(seen[0]?.result).toBe(7);
    expect(seen[1]?.result).toMatchObject({ exc_type: 'DecodeError' });
  });

  test('a result is kept for longer than thirty days, or for ever', async () => {
    for (const expiresSeconds of [31 * 86_400, undefined]) {
      const store = await opened(url, {}, { expiresSeconds });
      const id = randomUUID();
      await store.store([{ meta: meta(id, 'SUCCESS', 1) }]);
      expect((await store.load([id]))[0]?.result).toBe(1);
      await store.forget([id]);
    }
  });
});
