import { ConnectionLostError, Lovage } from '@lovage/core';
import type { Connection, ConnectionSupervisor } from '@lovage/core/transport';
import { expect, test } from 'vitest';
import { Migration } from './migration.ts';

test('a destination that is lost at each try is tried with pauses, and no more after the signal to stop', async () => {
  const app = new Lovage('move', { broker: 'memory://migration-test' });
  const source = app.connectBroker('read');
  const connection = await source.connection();
  const topology = { queues: [{ name: 'q' }] };
  await connection.declare(topology);
  const message = {
    body: new Uint8Array(),
    contentType: 'application/json',
    contentEncoding: 'utf-8',
    headers: {},
    properties: {},
  };
  await connection.publish([{ exchange: '', routingKey: 'q', message }]);
  const stop = new AbortController();
  let tries = 0;
  const broken = {
    declare: () => Promise.resolve(),
    publish: () => {
      tries++;
      if (tries === 4) stop.abort();
      return Promise.reject(new ConnectionLostError('gone'));
    },
  };
  // Of a destination no more than this is used.
  const live = broken as unknown as Connection;
  const destination = { live, connection: () => Promise.resolve(live) } as unknown as ConnectionSupervisor;
  const begun = performance.now();
  const report = await new Migration({
    source,
    destination,
    queues: [{ from: 'q', to: 'q', topology }],
    idleMs: 1000,
    window: 10,
    reconnectMs: 1000,
    signal: stop.signal,
    logger: app.logger,
  }).run();
  // Pauses of 50, 100 and 200 ms.
  expect(performance.now() - begun).toBeGreaterThan(340);
  expect(tries).toBe(4);
  expect(report).toMatchObject({ moved: 0, left: { q: 1 } });
  await source.close();
  await app.close();
});
