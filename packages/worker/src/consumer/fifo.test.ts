import { expect, test } from 'vitest';
import * as fc from 'fast-check';
import { Fifo } from './fifo.ts';

test('a Fifo behaves as an array does', () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom('push', 'push', 'shift', 'extract'), { maxLength: 5000 }), (moves) => {
      const fifo = new Fifo<number>();
      let model: number[] = [];
      moves.forEach((move, n) => {
        if (move === 'push') {
          fifo.push(n);
          model.push(n);
        } else if (move === 'shift') {
          expect(fifo.shift()).toBe(model.shift());
        } else if (n % 50 === 0) {
          const isThird = (item: number) => item % 3 === 0;
          expect(fifo.extract(isThird)).toEqual(model.filter(isThird));
          model = model.filter((item) => !isThird(item));
        }
        expect(fifo.size).toBe(model.length);
      });
      expect(fifo.items()).toEqual(model);
    }),
    { numRuns: 30 },
  );
});
