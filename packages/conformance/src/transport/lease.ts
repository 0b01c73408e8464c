import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Connection } from '@lovage/core/transport';
import { sameTexts } from '../expect.ts';
import { Rival } from './rival.ts';
import { textOf, texts, textsOf, toQueue, type TransportTest, type TransportTrial } from './trial.ts';

/** Longer ones are not waited for. */
const MAX_LEASE_MS = 5000;

export const lease: readonly TransportTest[] = [
  {
    name: 'lease: a live session keeps what it holds, far beyond the lease',
    patience: 2,
    async run(trial) {
      const holder = await trial.open({ leaseMs: trial.shortLeaseMs });
      const leaseMs = leaseOf(trial, holder);
      const queue = await trial.queue(holder);
      await holder.publish(texts(5).map((text) => toQueue(queue, text)));
      const first = await trial.receive(holder, queue, 5);
      const held = await first.take(5);
      const other = await trial.open({ leaseMs: trial.shortLeaseMs });
      const thief = await trial.receive(other, queue, 5);
      // The promise is about this time itself; three leases and a half, and any delivery ends the wait.
      await Promise.race([sleep(leaseMs * 3.5), thief.take(1).catch(() => {})]);
      assert.deepEqual(textsOf(thief.deliveries), [], 'another session got what a live one holds');
      assert.deepEqual(textsOf(first.lost), [], 'the live session was told that its lease is lost');
      await first.settle(held, 'ack');
      await trial.barrier(other);
      assert.deepEqual(textsOf(thief.deliveries), [], 'what was acked late came again');
      await trial.ready(other, queue, 0);
    },
  },
  {
    name: 'lease: a session whose event loop stands still keeps what it holds',
    patience: 3,
    async run(trial) {
      const { url, connect } = trial.options;
      const module =
        trial.options.module ?? trial.skip('the option "module" is not given: no other thread can open this transport');
      const own = { leaseMs: trial.shortLeaseMs, keepsLeases: true };
      const holder = await trial.open(own);
      const leaseMs = leaseOf(trial, holder);
      const queue = await trial.queue(holder);
      await holder.publish(texts(2).map((text) => toQueue(queue, text)));
      const first = await trial.receive(holder, queue, 2);
      const held = await first.take(2);
      const rival = new Rival({ module, url, connect: { ...connect, leaseMs: trial.shortLeaseMs }, queue });
      try {
        await trial.deadline.of(rival.consuming, 'the other thread to consume');
        assert.equal(rival.standStill(leaseMs * 3.5), true, 'another session got what is held here');
        // At once: nothing but the keeper has renewed it, and the broker has to take our word for it.
        await first.settle(held.slice(0, 1), 'ack');
        await trial.barrier(holder);
        assert.deepEqual(textsOf(first.lost), [], 'the session was told that its lease is lost');
        await first.settle(held.slice(1), 'ack');
        await trial.ready(holder, queue, 0);
        assert.equal(rival.taken, 0, 'messages that came again');
      } finally {
        await rival.end();
      }
    },
  },
  {
    name: 'lease: a session that was silent too long is told, and its late ack reaches nobody',
    patience: 3,
    async run(trial) {
      const admin = await trial.open({ leaseMs: trial.shortLeaseMs });
      leaseOf(trial, admin);
      const queue = await trial.queue(admin);
      await admin.publish([toQueue(queue, 'm')]);
      const link = await trial.link();
      const silent = await trial.open({ link, leaseMs: trial.shortLeaseMs, heartbeatSeconds: 30 });
      const first = await trial.receive(silent, queue, 1);
      const stale = await first.takeOne();
      let lost: unknown;
      silent.closed.catch((error: unknown) => {
        lost = error;
      });
      link.stall();
      const heir = await trial.receive(admin, queue, 1);
      const held = await heir.takeOne('the message after the lease of the silent session');
      assert.equal(textOf(held), 'm');
      assert.equal(held.redelivered, true, '"redelivered"');
      await link.resume();
      await trial.deadline.until(
        'onLeaseLost or the loss of the session',
        () => lost !== undefined || first.lost.includes(stale),
      );
      await first.settle([stale], 'ack').catch(() => {});
      // It may live on, and would be right to take the message itself.
      await first.consumer.cancel().catch(() => {});
      await heir.settle([held], 'requeue');
      const again = await heir.takeOne('the message again: the ack of the silent session took it');
      await heir.settle([again], 'ack');
    },
  },
  {
    name: 'lease: waiting for messages renews nothing of what others left',
    patience: 2,
    async run(trial) {
      const options = { leaseMs: trial.shortLeaseMs };
      const admin = await trial.open(options);
      leaseOf(trial, admin);
      const queue = await trial.queue(admin);
      await admin.publish([toQueue(queue, 'm')]);
      const { connection, crash } = await trial.openMortal(options);
      const dying = await trial.receive(connection, queue, 1);
      await dying.takeOne();
      // Waits before, at and after the death, and goes on holding and settling messages of its own.
      const heir = await trial.receive(admin, queue, 2);
      await crash();
      await admin.publish([toQueue(queue, 'own')]);
      // The broker may notice the death at once, or when the lease ends.
      const both = await heir.take(2, 'the own message and that of the dead session');
      sameTexts(textsOf(both), ['own', 'm'], 'deliveries');
      await heir.settle(both, 'ack');
    },
  },
];

function leaseOf(trial: TransportTrial, connection: Connection): number {
  const { leaseMs } = connection.capabilities;
  if (leaseMs === 0) trial.skip('capabilities.leaseMs is 0: messages are held until the connection drops');
  if (leaseMs > MAX_LEASE_MS) {
    trial.skip(`the lease is ${leaseMs} ms although ${trial.shortLeaseMs} were asked for: too long to wait for`);
  }
  return leaseMs;
}
