import { describe, expect, test } from 'vitest';
import { altered, connect, drained, freshUrl, Inbox, publication, text } from '../../test/support/virtual-bench.ts';
import { LovageError } from '../errors.ts';
import type { Delivery } from '../transport/contract.ts';

describe('leases', () => {
  test('are renewed while a message is held, also after its consumer was cancelled', async () => {
    let renewed = 0;
    let thrice!: () => void;
    const enough = new Promise<void>((resolve) => {
      thrice = resolve;
    });
    const transport = altered((driver) => ({
      extendLease: async (receipts: readonly never[]) => {
        if (++renewed === 6) thrice();
        return driver.extendLease?.(receipts) ?? [];
      },
    }));
    const url = freshUrl();
    const options = { transportOptions: { leaseMs: 600 } };
    const [connection, other] = [await connect(url, options, transport), await connect(url, options)];
    await connection.publish([publication('1', 'q')]);
    const [inbox, thief] = [new Inbox(), new Inbox()];
    const consumer = await connection.consume(['q'], inbox.sink, { prefetch: 1 });
    await inbox.reach(1);
    await consumer.cancel();
    await other.consume(['q'], thief.sink, { prefetch: 1 });
    await enough;
    expect(thief.all).toEqual([]);
    await connection.settle([{ delivery: inbox.all[0] as Delivery, outcome: 'ack' }]);
    await drained();
    expect(renewed).toBeLessThan(8);
  });

  test('one that is lost is told, its slot freed, its settlement ignored', async () => {
    const transport = altered((driver) => ({
      extendLease: async (receipts: readonly never[]) => receipts,
      pull: driver.pull.bind(driver),
    }));
    const url = freshUrl();
    const connection = await connect(url, { transportOptions: { leaseMs: 30 } }, transport);
    const inbox = new Inbox();
    const lost = new Promise<readonly Delivery[]>((resolve) => {
      void connection.consume(['q'], inbox.sink, { prefetch: 1, onLeaseLost: resolve });
    });
    await connection.publish([publication('1', 'q'), publication('2', 'q')]);
    await inbox.reach(1);
    expect((await lost).map(text)).toEqual(['1']);
    await inbox.reach(2);
    await connection.settle([{ delivery: inbox.all[0] as Delivery, outcome: 'ack' }]);
  });

  test('a renewal that fails for a whole lease counts as lost', async () => {
    const transport = altered(() => ({
      extendLease: async () => {
        throw new LovageError('ERR_TIMEOUT', 'no answer');
      },
    }));
    const connection = await connect(undefined, { transportOptions: { leaseMs: 30 } }, transport);
    await connection.publish([publication('1', 'q')]);
    const lost = new Promise<readonly Delivery[]>((resolve) => {
      void connection.consume(['q'], () => {}, { prefetch: 1, onLeaseLost: resolve });
    });
    expect((await lost).map(text)).toEqual(['1']);
  });

  test('a renewal that is not answered for a whole lease counts as lost', async () => {
    let asked = 0;
    const transport = altered(() => ({
      extendLease: () => {
        asked++;
        return new Promise(() => {});
      },
    }));
    const connection = await connect(undefined, { transportOptions: { leaseMs: 30 } }, transport);
    await connection.publish([publication('1', 'q')]);
    const lost = new Promise<readonly Delivery[]>((resolve) => {
      void connection.consume(['q'], () => {}, { prefetch: 1, onLeaseLost: resolve });
    });
    expect((await lost).map(text)).toEqual(['1']);
    expect(asked).toBe(1);
  });
});
