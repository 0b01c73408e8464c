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
  return { settler: new Settler(connection, clock, logger, () => true), calls, lines, clock };
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

  test('a lost connection is no error: the broker delivers again', async () => {
    const { settler, calls, lines } = setUp(() => Promise.reject(new ConnectionLostError('gone')));
    settler.add(delivery(1), 'ack');
    await settler.drained();
    expect(calls.length).toBe(1);
    expect(lines.map((line) => line.split(' ')[0])).toEqual(['debug']);
  });

  test('anything else is tried again', async () => {
    const { settler, calls, clock } = setUp(async (_, call) => {
      if (call < 3) throw new TimeoutError('slow');
    });
    settler.add(delivery(1), 'ack');
    const drained = settler.drained();
    for (const delayMs of [100, 1000]) {
      while (clock.timers === 0) await turn();
      clock.advance(delayMs);
    }
    await drained;
    expect(calls).toEqual([['ack 1'], ['ack 1'], ['ack 1']]);
  });
});
