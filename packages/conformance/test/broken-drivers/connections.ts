import { memoryTransport } from '@lovage/core/memory';
import type { Connection, Delivery, DeliverySink, Publication, Topology, Transport } from '@lovage/core/transport';
import { isLovageError } from '@lovage/core/transport';
import { replace, trip, type TransportFault } from './fault.ts';

function broken(members: (connection: Connection) => Partial<Connection>): Transport {
  return {
    schemes: ['memory'],
    async connect(url, options) {
      const connection = await memoryTransport.connect(url, options);
      return replace(connection, members(connection));
    },
  };
}

function withSink(change: (sink: DeliverySink, connection: Connection) => DeliverySink): Transport {
  return broken((connection) => ({
    consume: (queues, sink, options) => connection.consume(queues, change(sink, connection), options),
  }));
}

/** Faults above the driver, where a transport does without core's virtual layer. */
export const connectionFaults: readonly TransportFault[] = [
  {
    name: 'ignores prefetch',
    fails: [
      'admin: inspect() counts what waits, without what is unsettled',
      'admin: purge() drops what waits, says how much, and leaves the rest alone',
      'competing: a session that holds its share leaves the rest to the others',
      'malformed: it can be requeued, comes again with its bytes, and counts against the prefetch limit',
      'prefetch: after cancel() nothing comes, and what is unsettled can be settled',
      'prefetch: at most 1 deliveries are unsettled',
      'prefetch: at most 10 deliveries are unsettled',
      'prefetch: at most 3 deliveries are unsettled',
      'prefetch: counts all queues of a consumer together',
      'prefetch: counts each consumer of a session on its own',
      'prefetch: lowering the limit holds back until enough is settled',
      'prefetch: raising the limit brings more at once',
      'priority: a requeued message keeps its level',
      'redelivery: what a session held when it died comes again, marked, and what it acked does not',
    ],
    transport: broken((connection) => ({
      async consume(queues, sink) {
        const consumer = await connection.consume(queues, sink, { prefetch: 0 });
        return replace(consumer, { setPrefetch: async () => {} });
      },
    })),
  },
  {
    name: 'cannot change prefetch while it runs',
    fails: [
      'prefetch: lowering the limit holds back until enough is settled',
      'prefetch: raising the limit brings more at once',
    ],
    transport: broken((connection) => ({
      async consume(queues, sink, options) {
        return replace(await connection.consume(queues, sink, options), { setPrefetch: async () => {} });
      },
    })),
  },
  {
    name: 'acks a message that was requeued and is acked after that',
    fails: ['settle: what is settled twice keeps its first outcome'],
    transport: broken((connection) => {
      const requeued = new WeakSet<Delivery>();
      /** Messages that the late ack takes when they come again. */
      const doomed = new Set<string>();
      return {
        consume: (queues, sink, options) => {
          const filter: DeliverySink = (deliveries) => {
            const kept = deliveries.filter((delivery) => !doomed.delete(textOf(delivery)));
            const taken = deliveries.filter((delivery) => !kept.includes(delivery));
            connection.settle(taken.map((delivery) => ({ delivery, outcome: 'ack' }))).catch(() => {});
            if (kept.length > 0) sink(kept);
          };
          return connection.consume(queues, filter, options);
        },
        settle: async (settlements) => {
          for (const { delivery, outcome } of settlements) {
            if (outcome === 'requeue') requeued.add(delivery);
            else if (requeued.has(delivery)) doomed.add(textOf(delivery));
          }
          await connection.settle(settlements);
        },
      };
    }),
  },
  {
    name: 'loses on close what was unsettled',
    fails: [
      'abort: close() at any moment loses nothing',
      'close: gives back what is unsettled, at once',
      'close: with work in flight and more arriving loses nothing',
      'settle: a delivery of another session reaches no message of this one',
    ],
    transport: broken((connection) => {
      const unsettled = new Set<Delivery>();
      return {
        consume: (queues, sink, options) =>
          connection.consume(
            queues,
            (deliveries) => {
              for (const delivery of deliveries) unsettled.add(delivery);
              sink(deliveries);
            },
            options,
          ),
        settle: (settlements) => {
          for (const { delivery } of settlements) unsettled.delete(delivery);
          return connection.settle(settlements);
        },
        close: async () => {
          await connection
            .settle([...unsettled].map((delivery) => ({ delivery, outcome: 'ack' as const })))
            .catch(() => {});
          await connection.close();
        },
      };
    }),
  },
  {
    name: 'swallows errors of publishing',
    maxMessageBytes: 100_000,
    fails: [
      'delay: a delay beyond what the broker can keep is refused',
      'publish: a failing message of one call does not fail another call of the same tick',
      'publish: a mandatory message without a queue is named by its index, and the others arrive',
      'publish: a message beyond the size limit is refused by its index, and the others arrive',
    ],
    transport: broken((connection) => ({
      publish: (batch, options) =>
        connection.publish(batch, options).catch((error: unknown) => {
          if (!isLovageError(error, 'ERR_PUBLISH')) throw error;
        }),
    })),
  },
  {
    name: 'drops a whole batch for one message too large',
    maxMessageBytes: 100_000,
    fails: ['publish: a message beyond the size limit is refused by its index, and the others arrive'],
    transport: broken((connection) => ({
      publish: async (batch, options) => {
        const large = batch.filter(({ message }) => message.body.length > 100_000);
        await connection.publish(large.length > 0 ? large : batch, options);
      },
    })),
  },
  {
    name: 'routes a first * as #',
    fails: ['routing: a topic exchange matches words, * and #'],
    transport: broken((connection) => ({
      declare: (topology: Topology) =>
        connection.declare({
          ...topology,
          bindings: (topology.bindings ?? []).map((binding) => ({
            ...binding,
            routingKey: binding.routingKey.replace(/^\*\..*/, '#'),
          })),
        }),
    })),
  },
  {
    name: 'takes bodies for text',
    fails: [
      'bodies: any bytes arrive as they were',
      'bodies: random bytes up to 1 MiB arrive as they were',
      'bodies: text with encoding utf-8 arrives as it was, also when its bytes are none',
      'redelivery: a requeued message keeps body, headers, properties, exchange and routing key',
    ],
    transport: broken((connection) => ({
      publish: (batch, options) => connection.publish(batch.map(throughText), options),
    })),
  },
  {
    name: 'ignores the abort of a publish',
    fails: ['abort: publish() ends its waiting with the reason, and the session lives on'],
    transport: broken((connection) => ({ publish: (batch) => connection.publish(batch) })),
  },
  {
    name: 'delivers after cancel()',
    fails: [
      'abort: cancel() at any moment loses nothing',
      'admin: inspect() counts what waits, without what is unsettled',
      'admin: purge() drops what waits, says how much, and leaves the rest alone',
      'fanout: a consumer that ended gets no more, and the others do',
      'prefetch: after cancel() nothing comes, and what is unsettled can be settled',
    ],
    mayFail: /^settle: what is requeued can be taken by another session at once$/,
    transport: broken((connection) => ({
      async consume(queues, sink, options) {
        const consumer = await connection.consume(queues, sink, options);
        return replace(consumer, { cancel: async () => {} });
      },
    })),
  },
  {
    name: 'drops malformed messages',
    fails: [
      'malformed: it can be requeued, comes again with its bytes, and counts against the prefetch limit',
      'malformed: many among good ones, and all are delivered',
      'malformed: rejecting it brings it to the dead letter place, with its bytes',
      'malformed: what is no envelope is delivered with its bytes, and the consumer lives on',
    ],
    transport: withSink((sink, connection) => (deliveries) => {
      const good = deliveries.filter(({ malformed }) => malformed === undefined);
      const bad = deliveries.filter(({ malformed }) => malformed !== undefined);
      connection.settle(bad.map((delivery) => ({ delivery, outcome: 'ack' }))).catch(() => {});
      if (good.length > 0) sink(good);
    }),
  },
  {
    name: 'takes rejecting for acking',
    fails: [
      'malformed: rejecting it brings it to the dead letter place, with its bytes',
      'settle: what is rejected goes to the dead letter place, through an exchange',
      'settle: what is rejected goes to the dead letter place, through the default exchange',
    ],
    transport: broken((connection) => ({
      settle: (settlements) =>
        connection.settle(
          settlements.map(({ delivery, outcome }) => ({ delivery, outcome: outcome === 'reject' ? 'ack' : outcome })),
        ),
    })),
  },
  {
    name: 'confirms before the broker has it, and forgets it on close',
    fails: ['close: keeps every message whose publish resolved'],
    transport: broken((connection) => {
      let isClosing = false;
      return {
        publish: async (batch, options) => {
          const isEarly = !isClosing;
          await trip();
          if (isEarly && isClosing) return;
          await connection.publish(batch, options);
        },
        close: async () => {
          isClosing = true;
          await connection.close();
        },
      };
    }),
  },
  {
    name: 'works on after close()',
    fails: ['close: every call after it is a ClosedError'],
    transport: {
      schemes: ['memory'],
      async connect(url, options) {
        const connection = await memoryTransport.connect(url, options);
        let next: Promise<Connection> | undefined;
        let isClosed = false;
        return replace(connection, {
          publish: async (batch, publishOptions) => {
            if (isClosed) next ??= memoryTransport.connect(url, {});
            await ((await next) ?? connection).publish(batch, publishOptions);
            await (await next)?.close();
          },
          close: async () => {
            isClosed = true;
            await connection.close();
          },
        });
      },
    },
  },
];

function textOf({ message }: Delivery): string {
  return new TextDecoder().decode(message.body);
}

function throughText(publication: Publication): Publication {
  const body = new TextEncoder().encode(new TextDecoder().decode(publication.message.body));
  return { ...publication, message: { ...publication.message, body } };
}
