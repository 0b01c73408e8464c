import { type ChildProcess, fork, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BrokerUrl, type Connection, type Publication } from '@lovage/core/transport';
import { filesystemTransport } from '@lovage/transport-filesystem';
import { openFilesystemDriver } from '../src/open.ts';
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest';
import { consume, settle, texts } from '../../conformance/test/consuming.ts';

const root = mkdtempSync(join(tmpdir(), 'lovage-filesystem-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

let folder: string;
let count = 0;
beforeEach(() => {
  folder = join(root, String(++count));
});

const open: Connection[] = [];
const children = new Set<ChildProcess>();
afterEach(async () => {
  for (const child of children) child.kill('SIGKILL');
  children.clear();
  await Promise.all(open.splice(0).map((connection) => connection.close()));
});

async function connect(transportOptions: Record<string, unknown> = {}): Promise<Connection> {
  const url = new BrokerUrl(`filesystem://${folder}`);
  const connection = await filesystemTransport.connect(url, {
    transportOptions: { synchronous: 'normal', ...transportOptions },
  });
  open.push(connection);
  return connection;
}

const publication = (routingKey: string, body: string, exchange = ''): Publication => ({
  exchange,
  routingKey,
  message: {
    body: Buffer.from(body),
    contentType: 'text/plain',
    contentEncoding: 'utf-8',
    headers: { id: 'é' },
    properties: { correlationId: 'c' },
  },
});
const messages = () => readdirSync(folder).filter((name) => name.endsWith('.msg'));
const envelope = (text: string) =>
  JSON.stringify({ body: text, headers: {}, properties: { delivery_info: { exchange: '', routing_key: 'q' } } });

describe('layout', () => {
  test('a message is one envelope in one file, and nothing of it is left when it is done', async () => {
    const connection = await connect();
    await connection.publish([publication('q', 'hello')]);
    const [name = ''] = messages();
    expect(name).toMatch(/^\d+_[\da-f-]{36}\.q\.msg$/);
    expect(JSON.parse(readFileSync(join(folder, name), 'utf8'))).toMatchObject({
      body: Buffer.from('hello').toString('base64'),
      'content-type': 'text/plain',
      headers: { id: 'é' },
      properties: { delivery_info: { exchange: '', routing_key: 'q' }, body_encoding: 'base64', correlation_id: 'c' },
    });
    const { take } = await consume(connection, 'q');
    await settle(connection, await take(1), 'ack');
    await connection.close();
    const left = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
    expect(left.map(({ name: file }) => file)).toEqual([]);
  });

  test('a queue takes nothing of one whose name ends like its own', async () => {
    const connection = await connect();
    await connection.publish([publication('a.b', 'other'), publication('b', 'own')]);
    const { take, deliveries } = await consume(connection, 'b');
    const own = await take(1);
    expect(texts(own)).toEqual(['own']);
    await settle(connection, own, 'ack');
    expect((await connection.inspect('b')).ready).toBe(0);
    expect((await connection.inspect('a.b')).ready).toBe(1);
    expect(deliveries).toEqual([]);
  });

  test('bindings are in the table of their exchange, the newest first', async () => {
    const connection = await connect();
    await connection.declare({
      exchanges: [{ name: 'x', type: 'topic' }],
      queues: [{ name: 'one' }, { name: 'two' }],
      bindings: [{ exchange: 'x', queue: 'one', routingKey: 'a.*' }],
    });
    await connection.declare({ bindings: [{ exchange: 'x', queue: 'two', routingKey: 'b' }] });
    expect(JSON.parse(readFileSync(join(folder, 'control/x.exchange'), 'utf8'))).toEqual([
      ['b', '^b$', 'two'],
      ['a.*', '^a\\..*?[^\\.]$', 'one'],
    ]);
  });

  test('processed messages are kept where it is asked for', async () => {
    const connection = await connect({ store_processed: true });
    await connection.publish([publication('q', 'hello')]);
    const [name = ''] = messages();
    const { take } = await consume(connection, 'q');
    await settle(connection, await take(1), 'ack');
    expect(readdirSync(join(folder, 'processed'))).toEqual([name]);
  });

  test('what is written in one folder is read in the other', async () => {
    const there = { data_folder_in: join(folder, 'a'), data_folder_out: join(folder, 'b') };
    const back = { data_folder_in: join(folder, 'b'), data_folder_out: join(folder, 'a') };
    const [one, other] = [await connect(there), await connect(back)];
    await one.publish([publication('q', 'ping')]);
    const asked = await consume(other, 'q');
    await settle(other, await asked.take(1), 'ack');
    await other.publish([publication('q', 'pong')]);
    const answered = await consume(one, 'q');
    const answers = await answered.take(1);
    expect(texts(answers)).toEqual(['pong']);
    await settle(one, answers, 'ack');
  });
});

describe('order', () => {
  test('of one publisher as published, also after some were given back', async () => {
    const connection = await connect();
    const bodies = Array.from({ length: 50 }, (_, index) => String(index));
    await connection.publish(bodies.map((body) => publication('q', body)));
    const first = await consume(connection, 'q', 10);
    const held = await first.take(10);
    await first.consumer.cancel();
    await settle(connection, held, 'requeue');
    const { take } = await consume(connection, 'q', 1);
    const seen: string[] = [];
    while (seen.length < bodies.length) {
      const deliveries = await take(1);
      seen.push(...texts(deliveries));
      await settle(connection, deliveries, 'ack');
    }
    expect(seen).toEqual(bodies);
  });

  test('by number, and what an earlier run of the machine left comes first', async () => {
    const connection = await connect();
    const now = Number(process.hrtime.bigint() / 1_000_000n);
    for (const ms of [now - 1, 9, 10, now + 1e12]) {
      writeFileSync(join(folder, `${ms}_00000000-0000-4000-8000-000000000000.q.msg`), envelope(String(ms)));
    }
    const { take } = await consume(connection, 'q');
    const deliveries = await take(4);
    expect(texts(deliveries)).toEqual([now + 1e12, 9, 10, now - 1].map(String));
    await settle(connection, deliveries, 'ack');
  });
});

describe('other writers', () => {
  test('a file that is being written is waited for, and holds up nobody', async () => {
    const connection = await connect();
    const { take } = await consume(connection, 'q');
    const file = join(folder, '1_00000000-0000-4000-8000-000000000000.q.msg');
    const whole = envelope('slowly');
    const half = spawn(process.execPath, [
      '-e',
      // It keeps the file open, as Kombu's writer does while it writes.
      `const fs = require('fs'); const fd = fs.openSync(process.argv[1], 'w'); fs.writeSync(fd, process.argv[2]);
       console.log('half'); process.stdin.once('data', () => { fs.writeSync(fd, process.argv[3]); process.exit(); });`,
      file,
      '',
      whole,
    ]);
    children.add(half);
    await once(half.stdout, 'data');
    await connection.publish([publication('q', 'quick')]);
    const quick = await take(1);
    expect(texts(quick)).toEqual(['quick']);
    half.stdin.write('go\n');
    const slow = await take(1);
    expect(texts(slow)).toEqual(['slowly']);
    expect(slow[0]?.malformed).toBeUndefined();
    await settle(connection, [...quick, ...slow], 'ack');
  });

  test('a file that cannot be read just now holds up nobody, and is read when it can be', async () => {
    const connection = await connect();
    const file = '1_00000000-0000-4000-8000-000000000000.q.msg';
    await connection.publish([publication('q', 'readable')]);
    // Reading it is an EIO.
    symlinkSync('/proc/self/mem', join(folder, file));
    const { take } = await consume(connection, 'q');
    const readable = await take(1);
    expect(texts(readable)).toEqual(['readable']);
    const held = readdirSync(folder, { recursive: true, withFileTypes: true }).find(({ name }) => name === file);
    const whole = join(folder, 'whole');
    writeFileSync(whole, envelope('later'));
    renameSync(whole, join(held?.parentPath ?? '', file));
    const later = await take(1);
    expect(texts(later)).toEqual(['later']);
    await settle(connection, [...readable, ...later], 'ack');
  });

  test('a broken file is handed on as malformed, and dead-lettered', async () => {
    const connection = await connect();
    await connection.declare({
      queues: [{ name: 'q', deadLetter: { exchange: '', routingKey: 'dead' } }, { name: 'dead' }],
    });
    writeFileSync(join(folder, '1_00000000-0000-4000-8000-000000000000.q.msg'), '{"half');
    const { take } = await consume(connection, 'q');
    const broken = await take(1);
    expect(broken[0]?.malformed).toBeDefined();
    await settle(connection, broken, 'reject');
    expect((await connection.inspect('dead')).ready).toBe(1);
  });

  test('a broken table of bindings is set aside by who binds, and said by who publishes', async () => {
    const connection = await connect();
    const x = { exchanges: [{ name: 'x', type: 'fanout' as const }], queues: [{ name: 'q' }] };
    mkdirSync(join(folder, 'control'), { recursive: true });
    writeFileSync(join(folder, 'control/x.exchange'), '[["", "", "q');
    await connection.declare(x);
    await expect(connection.publish([publication('', 'm', 'x')])).rejects.toThrow(/no JSON list/);
    await connection.declare({ ...x, bindings: [{ exchange: 'x', queue: 'q', routingKey: '' }] });
    expect(readFileSync(join(folder, 'control/x.exchange'), 'utf8')).toBe('[["","","q"]]');
    expect(readFileSync(join(folder, 'control/x.exchange.broken'), 'utf8')).toBe('[["", "", "q');
    await connection.publish([publication('', 'm', 'x')]);
    expect((await connection.inspect('q')).ready).toBe(1);
  });
});

describe('the death of a process', () => {
  function hold(queue: string): ChildProcess {
    const child = fork(
      fileURLToPath(new URL('child.mjs', import.meta.url)),
      ['hold', `filesystem://${folder}`, queue],
      { execArgv: [] },
    );
    children.add(child);
    return child;
  }

  test('what it held moves on at once, long before its lease ends', async () => {
    const connection = await connect();
    const child = hold('q');
    await once(child, 'message');
    const held = once(child, 'message');
    await connection.publish([publication('q', 'a'), publication('q', 'b')]);
    await held;
    await expect.poll(() => messages().length).toBe(0);
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
    const { take } = await consume(connection, 'q');
    const since = performance.now();
    const again = await take(2);
    expect(performance.now() - since).toBeLessThan(20_000);
    expect(texts(again)).toEqual(['a', 'b']);
    expect(again.map(({ redelivered, deliveryCount }) => [redelivered, deliveryCount])).toEqual([
      [true, 2],
      [true, 2],
    ]);
    await settle(connection, again, 'ack');
  });

  test('its mailbox and bindings go when they have grown old', async () => {
    const dead = await connect();
    await dead.declare({
      exchanges: [{ name: 'x', type: 'fanout' }],
      queues: [{ name: 'mailbox', autoDelete: true }],
      bindings: [{ exchange: 'x', queue: 'mailbox', routingKey: '' }],
    });
    const record = join(folder, 'control/.lovage/mailbox.queue');
    const text = readFileSync(record, 'utf8');
    await dead.close();
    // As a process that was killed leaves it.
    writeFileSync(record, text);
    writeFileSync(join(folder, 'control/x.exchange'), '[["", "", "mailbox"], ["", "", "other"]]');
    const connection = await connect();
    await connection.publish([publication('mailbox', 'm')]);
    const old = (Date.now() - 400_000) / 1000;
    utimesSync(record, old, old);
    await consume(connection, 'q');
    await expect.poll(() => readFileSync(join(folder, 'control/x.exchange'), 'utf8')).toBe('[["","","other"]]');
    await expect.poll(() => messages()).toEqual([]);
  });
});

test('a lock that Python holds on a table of bindings is waited for', async () => {
  const connection = await connect();
  const table = join(folder, 'control/x.exchange');
  appendFileSync(table, '[["", "", "python"]]');
  const holder = spawn('python3', [
    '-c',
    'import fcntl, sys\nf = open(sys.argv[1], "rb+", buffering=0)\nfcntl.flock(f, fcntl.LOCK_EX)\nprint("locked", flush=True)\nsys.stdin.readline()\nf.write(b\'[["","","more"],["","","python"]]\')\nf.close()',
    table,
  ]);
  children.add(holder);
  await once(holder.stdout, 'data');
  const declared = connection.declare({
    exchanges: [{ name: 'x', type: 'fanout' }],
    queues: [{ name: 'ours' }],
    bindings: [{ exchange: 'x', queue: 'ours', routingKey: '' }],
  });
  const early = await Promise.race([
    declared.then(() => 'declared'),
    new Promise((resolve) => setTimeout(resolve, 300, 'waits')),
  ]);
  expect(early).toBe('waits');
  holder.stdin.write('\n');
  await declared;
  expect(JSON.parse(readFileSync(table, 'utf8'))).toEqual([
    ['', '', 'ours'],
    ['', '', 'more'],
    ['', '', 'python'],
  ]);
});

test('a flock(1) that cannot be started just now is no reason to write without the lock', async () => {
  const connection = await connect();
  const declared = {
    exchanges: [{ name: 'x', type: 'fanout' as const }],
    queues: [{ name: 'q' }],
    bindings: [{ exchange: 'x', queue: 'q', routingKey: '' }],
  };
  const path = process.env['PATH'];
  symlinkSync('flock', join(folder, 'flock'));
  process.env['PATH'] = folder;
  try {
    await expect(connection.declare(declared)).rejects.toMatchObject({ code: 'ERR_BLOCKED' });
  } finally {
    process.env['PATH'] = path;
  }
  await connection.declare(declared);
  expect(readFileSync(join(folder, 'control/x.exchange'), 'utf8')).toBe('[["","","q"]]');
});

test('a worker that only waits for its tasks keeps its mailbox', async () => {
  const driver = await openFilesystemDriver(new BrokerUrl(`filesystem://${folder}`), {});
  try {
    await driver.ensureQueue({ name: 'mailbox', autoDelete: true });
    const record = join(folder, 'control/.lovage/mailbox.queue');
    const old = (Date.now() - 200_000) / 1000;
    utimesSync(record, old, old);
    await driver.extendLease([]);
    await expect.poll(() => Date.now() - statSync(record).mtimeMs).toBeLessThan(100_000);
  } finally {
    await driver.close();
  }
});

test('a folder that cannot be made is a ConfigError', async () => {
  mkdirSync(root, { recursive: true });
  writeFileSync(folder, 'a file');
  await expect(connect()).rejects.toMatchObject({ code: 'ERR_CONFIG' });
});
