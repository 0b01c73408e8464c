import { missingTransport } from '../support/faults.ts';
import type { VerbRows } from '../support/verbs.ts';

export default {
  amqp: [
    { args: ['amqp', 'queue.declare', 'verbs-amqp'], code: 0, out: 'queue:verbs-amqp messages:0\nOK\n', err: '' },
    { args: ['amqp', 'basic.publish', 'two words', '', 'verbs-amqp'], code: 0, out: 'OK\n', err: '' },
    {
      args: ['amqp', 'basic.get', 'verbs-amqp', 'true', '--json'],
      code: 0,
      out: /^\{"body":"two words","content_type":"text\/plain",.*"delivery_tag":1\}\n$/,
      err: '',
    },
    {
      title: 'a session',
      args: ['amqp'],
      piped: false,
      act: async (running) => {
        await running.said('amqp> ', 'out');
        running.type('exchange.declare ex topic\rqueue.bind verbs-amqp ex "a.#"\rbasic.publish "more" ex a.b\r');
        running.type('basic.get verbs-amqp\r');
        await running.said('"delivery_tag": 1', 'out');
        running.type('basic.ack 7\r');
        await running.said('No message of this session has the delivery tag 7');
        running.type('basic.ack 1\rqueue.delete verbs-amqp\r');
        await running.said('0 messages deleted.', 'out');
        running.type('exit\r');
      },
      code: 0,
      out: /^Commands of AMQP/,
    },
    { args: ['amqp', 'queue.declar', 'x'], code: 2, out: '', err: /no command.*Did you mean "queue\.declare"/ },
    {
      args: ['amqp', 'queue.bind', 'x'],
      code: 2,
      out: '',
      err: 'Error: Expected: queue.bind queue exchange routing_key\n',
    },
    { args: ['amqp', 'queue.declare', 'x', 'maybe'], code: 2, out: '', err: /"maybe" is neither true nor false/ },
    missingTransport('amqp', 'queue.purge', 'x'),
  ],
} satisfies VerbRows;
