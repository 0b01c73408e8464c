import { describe, expect, test } from 'vitest';
import { ConnectionLostError, TimeoutError, type Logger } from '@lovage/core';
import type { Connection, Delivery, Settlement } from '@lovage/core/transport';
import { ManualClock } from '../../test/support/manual-clock.ts';
import { Settler } from './settler.ts';

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));
const delivery = (tag: number) => ({ tag }) as unknown as Delivery;

function setUp(settle: (settlements: readonly Settlement[], call: number) => Promise<void>) {
  const calls: string[][] = [];
  const lines: string[] = [];
  const log = (level: string) => (_: unknown, message: string) => void lines.push(`${level} ${message}`);
  const logger: Logger = { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') };
  const connection = {
    settle(settlements: readonly Settlement[]) {
      calls.push(settlements.map(({ delivery, outcome }) => `${outcome} ${String(delivery.tag)}`));
      return settle(settlements, calls.length);
    },
  } as unknown as Connection;
  const clock = new ManualClock();
  const state = { mayLinger: false };
  const settler = new Settler({ connection, clock, logger, isLive: () => true, mayLinger: () => state.mayLinger });
  return { settler, state, calls, lines, clock };
}

describe('Settler', () => {
  test('joins what ends in one turn', async () => {
    const { settler, calls } = setUp(async () => {});
    settler.add(delivery(1), 'ack');
    await Promise.resolve();
    settler.add(delivery(2), 'requeue');
    settler.add(delivery(3), 'reject');
    await turn();
    expect(calls).toEqual([['ack 1', 'requeue 2', 'reject 3']]);
    settler.add(delivery(4), 'ack');
    await settler.drained();
    expect(calls[1]).toEqual(['ack 4']);
  });

  test('acks linger for a moment where nobody waits for them, and no longer', async () => {
    const { settler, state, calls, clock } = setUp(async () => {});
    state.mayLinger = true;
    settler.add(delivery(1), 'ack');
    await turn();
    settler.add(delivery(2), 'ack');
    await turn();
    expect(calls).toEqual([]);
    clock.advance(10);
    expect(calls).toEqual([['ack 1', 'ack 2']]);
    for (let tag = 3; tag <= 10; tag++) settler.add(delivery(tag), 'ack');
    await turn();
    expect(calls[1]).toHaveLength(8);
    settler.add(delivery(11), 'ack');
    await settler.drained();
    expect(calls[2]).toEqual(['ack 11']);
    expect(clock.timers).toBe(0);
  });

  test('an urgent ack does not linger', async () => {
    const { settler, state, calls } = setUp(async () => {});
    state.mayLinger = true;
    settler.add(delivery(1), 'ack');
    settler.add(delivery(2), 'ack', true);
    await turn();
    expect(calls).toEqual([['ack 1', 'ack 2']]);
  });

  test('what somebody waits for takes along what lingers', async () => {
    const { settler, state, calls, clock } = setUp(async () => {});
    state.mayLinger = true;
    settler.add(delivery(1), 'ack');
    settler.add(delivery(2), 'requeue');
    await turn();
    expect(calls).toEqual([['ack 1', 'requeue 2']]);
    settler.add(delivery(3), 'ack');
    state.mayLinger = false;
    settler.add(delivery(4), 'ack');
    await turn();
    expect(calls[1]).toEqual(['ack 3', 'ack 4']);
    expect(clock.timers).toBe(0);
  });

  test('a lost connection is no error: the broker delivers again', async () => {
    const { settler, calls, lines } = setUp(() => Promise.reject(new ConnectionLostError('gone')));
    settler.add(delivery(1), 'ack');
    await settler.drained();
    expect(calls.length).toBe(1);
    expect(lines.map((line) => line.split(' ')[0])).toEqual(['debug']);
  });

  test('anything else is tried again while the connection lives: nobody else would give the message back', async () => {
    const { settler, calls, clock } = setUp(async (_, call) => {
      if (call < 8) throw new TimeoutError('slow');
    });
    settler.add(delivery(1), 'ack');
    const drained = settler.drained();
    for (const delayMs of [100, 1000, 10_000, 10_000, 10_000, 10_000, 10_000]) {
      while (clock.timers === 0) await turn();
      clock.advance(delayMs);
    }
    await drained;
    expect(calls).toEqual(Array.from({ length: 8 }, () => ['ack 1']));
  });
});
