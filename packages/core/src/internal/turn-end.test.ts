import { describe, expect, test } from 'vitest';
import { atTurnEnd } from './turn-end.ts';

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

describe('atTurnEnd', () => {
  test('what one act leads to is done in the same turn, behind the others', async () => {
    const done: string[] = [];
    atTurnEnd(() => {
      done.push('first');
      atTurnEnd(() => done.push('what follows'));
    });
    atTurnEnd(() => done.push('second'));
    expect(done).toEqual([]);
    await turn();
    expect(done).toEqual(['first', 'second', 'what follows']);
  });

  test('an act that throws keeps no other from its turn', async () => {
    const done: string[] = [];
    const errors: unknown[] = [];
    const listeners = process.listeners('uncaughtException');
    process.removeAllListeners('uncaughtException');
    process.once('uncaughtException', (error) => errors.push(error));
    atTurnEnd(() => {
      throw new Error('of its own');
    });
    atTurnEnd(() => done.push('other'));
    await turn();
    await turn();
    for (const listener of listeners) process.on('uncaughtException', listener);
    expect(done).toEqual(['other']);
    expect(errors).toHaveLength(1);
  });
});
