// A process of the tests in processes.test.ts: `node child.mjs consume|hold|publish <url> <queue> <ledger> <leaseMs>`.
// It runs the built package, because the oldest Node that is supported loads no TypeScript.
import { appendFileSync } from 'node:fs';
import { BrokerUrl } from '@lovage/core/transport';
import { sqlTransport } from '@lovage/transport-sql';

/** Until the process is killed. */
function* count() {
  for (let number = 0; ; number++) yield number;
}

const [, , role, url, queue, ledger, leaseMs] = process.argv;
const connection = await sqlTransport.connect(new BrokerUrl(url), { transportOptions: { leaseMs: Number(leaseMs) } });
await connection.declare({ queues: [{ name: queue }] });
process.on('message', () => void connection.close().then(() => process.disconnect()));

if (role !== 'publish') {
  await connection.consume(
    [queue],
    (deliveries) => {
      const bodies = deliveries.map(({ message }) => new TextDecoder().decode(message.body));
      // Written before the ack is asked for: what a killed process did is known.
      appendFileSync(ledger, bodies.map((body) => `${process.pid} ${body}\n`).join(''));
      process.send(bodies.length);
      if (role === 'consume') void connection.settle(deliveries.map((delivery) => ({ delivery, outcome: 'ack' })));
    },
    { prefetch: 20 },
  );
  process.send('ready');
} else {
  for (const round of count()) {
    const bodies = Array.from({ length: 10 }, (_, index) => `${process.pid}-${round}-${index}`);
    await connection.publish(
      bodies.map((body) => ({
        exchange: '',
        routingKey: queue,
        message: {
          body: new TextEncoder().encode(body),
          contentType: 'text/plain',
          contentEncoding: 'utf-8',
          headers: {},
          properties: {},
        },
      })),
    );
    appendFileSync(ledger, bodies.map((body) => `${body}\n`).join(''));
    process.send(bodies.length);
  }
}
