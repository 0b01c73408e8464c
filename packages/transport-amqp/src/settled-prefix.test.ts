import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { SettledPrefix } from './settled-prefix.ts';

/** The broker's side: what is unsettled, and what it does with an acknowledgement. */
class Broker {
  readonly open = new Set<number>();
  ack(tag: number, multiple: boolean): number[] {
    // RabbitMQ closes the channel over a tag that is not open.
    expect(this.open.has(tag)).toBe(true);
    const gone = multiple ? [...this.open].filter((other) => other <= tag) : [tag];
    for (const each of gone) this.open.delete(each);
    return gone;
  }
}

test('acknowledges exactly what was settled, joined as far as possible', () => {
  const step = fc.oneof(
    {
      weight: 3,
      arbitrary: fc.record({ kind: fc.constant('arrive' as const), count: fc.integer({ min: 1, max: 400 }) }),
    },
    { weight: 5, arbitrary: fc.record({ kind: fc.constantFrom('ack' as const, 'nack' as const), at: fc.nat() }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('ackAll' as const) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('flush' as const) }) },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const tags = new SettledPrefix();
      const broker = new Broker();
      const mine = new Set<number>();
      const acked = new Set<number>();
      let next = 1;
      const flush = (): void => {
        const { upTo, joined, single } = tags.plan();
        const gone: number[] = [];
        if (joined > 0) gone.push(...broker.ack(upTo, joined > 1));
        for (const tag of single) gone.push(...broker.ack(tag, false));
        expect(new Set(gone)).toEqual(acked);
        acked.clear();
      };
      for (const each of steps) {
        if (each.kind === 'arrive') {
          for (let index = 0; index < each.count; index++) {
            tags.add(next);
            broker.open.add(next);
            mine.add(next++);
          }
        } else if (each.kind === 'flush') {
          flush();
        } else if (each.kind === 'ackAll') {
          for (const tag of mine) {
            tags.ack(tag);
            acked.add(tag);
          }
          mine.clear();
        } else if (mine.size > 0) {
          const tag = [...mine][each.at % mine.size] as number;
          mine.delete(tag);
          if (each.kind === 'ack') {
            tags.ack(tag);
            acked.add(tag);
          } else {
            tags.settle(tag);
            broker.open.delete(tag);
          }
        }
      }
      flush();
      expect(broker.open).toEqual(mine);
    }),
  );
});
