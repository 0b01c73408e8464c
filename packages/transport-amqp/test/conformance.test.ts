import { transportConformance } from '@lovage/conformance';
import { test } from 'vitest';
import { amqpTransport } from '../src/index.ts';
import { brokerUrl, describeWithRabbit } from './broker.ts';

describeWithRabbit('the promises of a transport', () => {
  transportConformance({
    test,
    transport: amqpTransport,
    url: brokerUrl,
    defaultPort: 5672,
    skip: {
      'delay: inspect() counts a delayed message as waiting':
        'RabbitMQ keeps delayed messages in queues by time, which all queues share',
    },
  });
});
