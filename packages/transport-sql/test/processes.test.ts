import { type ChildProcess, execFileSync, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BrokerUrl, type Connection } from '@lovage/core/transport';
import { openSqlDatabase } from '@lovage/sql';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { sqlTransport } from '../src/index.ts';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'lovage-processes-'));
const url = `sqla+sqlite:///${join(folder, 'broker.db')}`;
const PREFETCH = 20;

beforeAll(() => {
  execFileSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-b', 'packages/transport-sql'], {
    cwd: root,
  });
}, 120_000);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const children = new Set<ChildProcess>();
afterEach(() => {
  for (const child of children) child.kill('SIGKILL');
  children.clear();
});

function start(role: 'consume' | 'hold' | 'publish', queue: string, ledger: string, leaseMs = 1000): ChildProcess {
  const child = fork(
    fileURLToPath(new URL('child.mjs', import.meta.url)),
    [role, url, queue, ledger, String(leaseMs)],
    {
      execArgv: [],
    },
  );
  children.add(child);
  return child;
}

async function kill(child: ChildProcess): Promise<void> {
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
  children.delete(child);
}

async function stop(child: ChildProcess): Promise<void> {
  const exited = once(child, 'exit');
  child.send('stop');
  expect(await exited).toEqual([0, null]);
  children.delete(child);
}

/** Asks again after each sign of life. */
class Progress {
  taken = 0;
  #wake: (() => void) | undefined;

  add(count: unknown): void {
    if (typeof count === 'number') this.taken += count;
    this.#wake?.();
  }

  async until(check: () => boolean): Promise<void> {
    while (!check()) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

function linesOf(file: string): string[] {
  return readFileSync(file, 'utf8').split('\n').filter(Boolean);
}

function publication(queue: string, body: string) {
  const message = {
    body: new TextEncoder().encode(body),
    contentType: '',
    contentEncoding: '',
    headers: {},
    properties: {},
  };
  return { exchange: '', routingKey: queue, message };
}

/** Messages of the queue, taken or not. */
async function rowsOf(queue: string): Promise<unknown> {
  const database = await openSqlDatabase(new BrokerUrl(url));
  const rows = await database.query(
    'SELECT count(*) AS n FROM kombu_message WHERE queue_id = (SELECT id FROM kombu_queue WHERE name = ?)',
    [queue],
  );
  await database.close();
  return rows[0]?.['n'];
}

/** Messages published in batches, as a busy client does. */
async function publish(connection: Connection, queue: string, count: number): Promise<void> {
  for (let from = 0; from < count; from += 100) {
    const bodies = Array.from({ length: Math.min(100, count - from) }, (_, index) => String(from + index));
    await connection.publish(bodies.map((body) => publication(queue, body)));
  }
}

describe('several processes on one file', () => {
  test('four consumers, killed in between: nothing is lost, nothing is taken twice while its taker lives', {
    timeout: 120_000,
  }, async () => {
    const COUNT = 5000;
    const queue = 'killed-consumers';
    const ledger = join(folder, `${queue}.txt`);
    writeFileSync(ledger, '');
    const connection = await sqlTransport.connect(new BrokerUrl(url), { transportOptions: { leaseMs: 1000 } });
    await connection.declare({ queues: [{ name: queue }] });
    const killed = new Set<number>();
    const progress = new Progress();
    const launch = (): ChildProcess => {
      const child = start('consume', queue, ledger);
      child.on('message', (count) => progress.add(count));
      return child;
    };
    const consumers = [launch(), launch(), launch(), launch()];
    const published = publish(connection, queue, COUNT);
    // Six kills, spread over the messages.
    for (let round = 1; round <= 6; round++) {
      await progress.until(() => progress.taken >= (round * COUNT) / 8);
      const victim = consumers.shift() as ChildProcess;
      killed.add(victim.pid as number);
      await kill(victim);
      consumers.push(launch());
    }
    await published;
    const seen = new Map<string, string[]>();
    const readLedger = (): number => {
      seen.clear();
      for (const line of linesOf(ledger)) {
        const [pid = '', body = ''] = line.split(' ');
        seen.set(body, [...(seen.get(body) ?? []), pid]);
      }
      return seen.size;
    };
    await progress.until(() => readLedger() === COUNT);
    // What the last victim had done and not acked comes again when its lease has ended.
    await expect.poll(() => rowsOf(queue)).toBe(0);
    await Promise.all(consumers.map(stop));
    expect((await connection.inspect(queue)).ready).toBe(0);
    await connection.close();
    readLedger();
    const repeated = [...seen.values()].filter((pids) => pids.length > 1);
    expect(repeated.length).toBeLessThanOrEqual(killed.size * PREFETCH);
    for (const pids of repeated) {
      // All but the last taker died before their ack.
      for (const pid of pids.slice(0, -1)) expect(killed).toContain(Number(pid));
    }
  });

  test('what a killed process held moves on at once, long before its lease ends', { timeout: 60_000 }, async () => {
    const queue = 'held';
    const ledger = join(folder, `${queue}.txt`);
    writeFileSync(ledger, '');
    const connection = await sqlTransport.connect(new BrokerUrl(url), {});
    await connection.declare({ queues: [{ name: queue }] });
    const holder = start('hold', queue, ledger, 600_000);
    await once(holder, 'message');
    await publish(connection, queue, 5);
    const holding = new Progress();
    holder.on('message', (count) => holding.add(count));
    await holding.until(() => linesOf(ledger).length === 5);
    const progress = new Progress();
    await connection.consume(
      [queue],
      (deliveries) => {
        expect(deliveries.every(({ redelivered }) => redelivered)).toBe(true);
        void connection.settle(deliveries.map((delivery) => ({ delivery, outcome: 'ack' as const })));
        progress.add(deliveries.length);
      },
      { prefetch: 0 },
    );
    const since = performance.now();
    await kill(holder);
    await progress.until(() => progress.taken === 5);
    expect(performance.now() - since).toBeLessThan(20_000);
    await connection.close();
  });

  test('killed publishers: what was confirmed is there', { timeout: 60_000 }, async () => {
    const queue = 'killed-publishers';
    const ledger = join(folder, `${queue}.txt`);
    writeFileSync(ledger, '');
    for (let round = 0; round < 5; round++) {
      const publishers = [start('publish', queue, ledger), start('publish', queue, ledger)];
      await Promise.all(
        publishers.map(async (child) => {
          for (let rounds = 0; rounds < 5 + round * 7; rounds++) await once(child, 'message');
          await kill(child);
        }),
      );
    }
    const confirmed = linesOf(ledger);
    expect(confirmed.length).toBeGreaterThan(500);
    const connection = await sqlTransport.connect(new BrokerUrl(url), {});
    await connection.declare({ queues: [{ name: queue }] });
    const { ready } = await connection.inspect(queue);
    const bodies = new Set<string>();
    const progress = new Progress();
    await connection.consume(
      [queue],
      (deliveries) => {
        for (const { message } of deliveries) bodies.add(new TextDecoder().decode(message.body));
        void connection.settle(deliveries.map((delivery) => ({ delivery, outcome: 'ack' as const })));
        progress.add(deliveries.length);
      },
      { prefetch: 0 },
    );
    await progress.until(() => progress.taken === ready);
    expect(bodies.size).toBe(ready);
    expect(confirmed.filter((body) => !bodies.has(body))).toEqual([]);
    await connection.close();
  });

  test('a waiting consumer of another process is woken by the file, not by its clock', {
    timeout: 60_000,
  }, async () => {
    const queue = 'woken';
    const ledger = join(folder, `${queue}.txt`);
    const connection = await sqlTransport.connect(new BrokerUrl(url), {});
    const child = start('consume', queue, ledger);
    await once(child, 'message');
    await connection.declare({ queues: [{ name: queue }] });
    const tookMs: number[] = [];
    for (let round = 0; round < 15; round++) {
      const since = performance.now();
      const woken = once(child, 'message');
      await connection.publish([publication(queue, String(round))]);
      await woken;
      tookMs.push(performance.now() - since);
    }
    await stop(child);
    await connection.close();
    // The safety poll is once a second: its mean alone would be 500 ms.
    expect(tookMs.sort((a, b) => a - b)[7]).toBeLessThan(300);
  });
});
