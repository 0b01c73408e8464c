import { describe, expect, test } from 'vitest';
import type { SignatureDict } from '../canvas/signature-dict.ts';
import { encodeJson } from '../serialization/json.ts';
import { SerializerRegistry } from '../serialization/registry.ts';
import type { Message } from '../transport/message.ts';
import { decodeTaskBody } from './decode.ts';
import type { TaskBody } from './task-message.ts';
import { encodeTask, type TaskDraft } from './v2.ts';

const registry = new SerializerRegistry();

const signature = (task: string, args: readonly unknown[] = []): SignatureDict => ({
  task,
  args,
  kwargs: { when: new Date(0) },
  options: { task_id: `${task}-id`, reply_to: 'r' },
  subtask_type: null,
  immutable: false,
});

/** The body of a message whose chain came from elsewhere. */
function received(count: number): TaskBody {
  const chain = Array.from({ length: count }, (_, n) => signature(`step-${n}`, [n]));
  return decodeTaskBody(encodeTask(draft({ chain }), registry), registry);
}

function draft(more: Partial<TaskDraft>): TaskDraft {
  return { id: 'the-id', task: 'proj.add', args: [2], kwargs: {}, origin: 'gen1@host', ...more };
}

const elsewhere = (message: Message): Message => ({ ...message, body: Uint8Array.from(message.body) });

describe('a chain that is passed on', () => {
  test('is written as any other', () => {
    const { chain } = received(3);
    const more = {
      chain: chain.slice(0, -1),
      callbacks: [signature('cb')],
      chord: signature('body'),
      args: ['"chain":null}]'],
    };
    for (let time = 0; time < 2; time++) {
      const message = encodeTask(draft(more), registry);
      const { args, callbacks, chord } = more;
      expect(JSON.parse(Buffer.from(message.body).toString())).toEqual(
        JSON.parse(encodeJson([args, {}, { callbacks, errbacks: null, chain: more.chain, chord }])),
      );
      expect([message.contentType, message.contentEncoding]).toEqual(['application/json', 'utf-8']);
    }
  });

  test('is not read again by who wrote it; what the task gets is', () => {
    const { chain } = received(2);
    const args = [{ list: [1] }];
    const callbacks = [signature('cb')];
    const message = encodeTask(draft({ chain, args, callbacks }), registry);
    const own = decodeTaskBody(message, registry);
    expect(own).toEqual(decodeTaskBody(elsewhere(message), registry));
    expect(own.chain).toHaveLength(2);
    expect(own.chain.every((step, index) => step === chain[index])).toBe(true);
    expect(own.args[0]).not.toBe(args[0]);
    expect(own.callbacks[0]).not.toBe(callbacks[0]);
  });

  test('is read, and its accept list asked, where the serializer or the list is another', () => {
    const { chain } = received(1);
    const message = encodeTask(draft({ chain }), registry);
    const yamlOnly = new SerializerRegistry({ accept: ['text/plain'] });
    expect(() => decodeTaskBody(message, yamlOnly)).toThrow('is not accepted');
    const replaced = new SerializerRegistry();
    replaced.register({
      name: 'json',
      contentType: 'application/json',
      contentEncoding: 'utf-8',
      encode: () => '[[], {}, null]',
      decode: () => [['replaced'], {}, null],
    });
    expect(decodeTaskBody(message, replaced).args).toEqual(['replaced']);
    expect(Buffer.from(encodeTask(draft({ chain }), replaced).body).toString()).toBe('[[], {}, null]');
  });

  test('is compressed as any other', () => {
    const { chain } = received(4);
    const message = encodeTask(draft({ chain, compression: 'zlib' }), registry);
    expect(decodeTaskBody(message, registry)).toEqual(decodeTaskBody(encodeTask(draft({ chain }), registry), registry));
  });

  test('a value that cannot be written is found in its place', () => {
    const { chain } = received(1);
    expect(() => encodeTask(draft({ chain, args: [{ fn: () => 1 }] }), registry)).toThrow('at args[0].fn');
  });
});

test('what the caller gave may change until it is sent', () => {
  const step = signature('step') as { args: unknown[] } & SignatureDict;
  const first = encodeTask(draft({ chain: [step] }), registry);
  step.args.push('later');
  const second = encodeTask(draft({ chain: [step] }), registry);
  const argsOf = (message: Message): unknown => decodeTaskBody(message, registry).chain[0]?.args;
  expect([argsOf(first), argsOf(second)]).toEqual([[], ['later']]);
});
