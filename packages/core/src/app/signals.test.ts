import { expect, test } from 'vitest';
import { silentLogger } from '../internal/log.ts';
import { Signals } from './signals.ts';

test('a handler that is there twice is called twice, and taken back once for each time', () => {
  const signals = new Signals(() => silentLogger);
  let calls = 0;
  const count = (): number => calls++;
  const takeBack = [signals.on('workerProcessInit', count), signals.on('workerProcessInit', count)] as const;
  const emit = (): void => signals.emit('workerProcessInit', () => ({ pid: 1 }));
  emit();
  expect(calls).toBe(2);
  takeBack[0]();
  takeBack[0]();
  emit();
  expect(calls).toBe(3);
  takeBack[1]();
  emit();
  expect(calls).toBe(3);
  expect(signals.has('workerProcessInit')).toBe(false);
});
