import { Lovage } from '@lovage/core';
import type { VerbCase, VerbRows } from '../support/verbs.ts';

const between = ['sqla+sqlite:///shop.db', 'sqla+sqlite:///moved.db', '-Q', 'verbs-moved', '-t', '0.3'];

const fill: VerbCase['before'] = async ({ run }) => {
  await run('-A', './tasks.ts', 'call', 'tasks.add', '--queue', 'verbs-moved');
};

export default {
  migrate: [
    {
      args: ['migrate', ...between],
      before: fill,
      code: 0,
      out: /^Moved 1 message from .*shop\.db to .*moved\.db\.\n {2}verbs-moved: 1\n$/,
      piped: { err: '' },
    },
    { args: ['migrate', ...between, '--json'], code: 0, out: /^\{.*"moved":0,.*\}\n$/, piped: { err: '' } },
    {
      args: ['migrate', 'sqla+sqlite:///shop.db', 'sqla+sqlite:///./shop.db', '-Q', 'verbs-moved'],
      code: 2,
      out: '',
      err: /Source and destination are the same/,
    },
    {
      title: 'delayed messages are counted',
      args: ['migrate', 'sqla+sqlite:///shop.db', 'sqla+sqlite:///moved.db', '-Q', 'verbs-delayed', '-t', '0.1'],
      before: async ({ folder }) => {
        const app = new Lovage('delayed', { broker: `sqla+sqlite:///${folder}/shop.db`, resolveFrom: folder });
        const link = app.connectBroker('write');
        const connection = await link.connection({ timeoutMs: 10_000 });
        const name = 'verbs-delayed';
        await connection.declare({ queues: [{ name }] });
        await connection.purge(name);
        const message = {
          body: new Uint8Array(),
          contentType: 'application/json',
          contentEncoding: 'utf-8',
          headers: {},
          properties: {},
        };
        await connection.publish([{ exchange: '', routingKey: name, message, delayMs: 600_000 }]);
        await link.close();
        await app.close();
      },
      code: 1,
      out: /^Moved 0 messages [^]*1 message waits in verbs-delayed at the source\.\n$/,
      err: /Warning: 1 message stayed at the source: delayed ones \(an ETA\)/,
    },
    { args: ['migrate', 'a', 'b', '-t', '-1'], code: 2, out: '', err: /"-1" is no time/ },
    { args: ['migrate', 'sqla+sqlite:///shop.db'], code: 2, out: '', err: /missing required argument 'destination'/ },
  ],
} satisfies VerbRows;
