import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Logger } from '@lovage/core';
import { describe, expect, onTestFinished, test } from 'vitest';
import { createLogger, type LoggingOptions } from './logging.ts';

/** What is in the log file after `write`. */
function logged(write: (logger: Logger) => void, options: Partial<LoggingOptions> = {}): string {
  const folder = mkdtempSync(join(tmpdir(), 'lovage-log-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const logfile = join(folder, 'deep/worker.log');
  write(createLogger({ level: 'info', format: 'line', colour: false, logfile, ...options }));
  return readFileSync(logfile, 'utf8');
}

describe('lines', () => {
  test('have the format of Celery, with the facts behind', () => {
    const text = logged((logger) => logger.warn({ queue: 'mail', task: 'a b', count: 2, empty: null }, 'waits'));
    expect(text).toMatch(
      /^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}: WARNING\/MainProcess\] waits \(queue=mail task="a b" count=2 empty=null\)\n$/,
    );
  });

  test('show lists and objects too', () => {
    expect(logged((logger) => logger.info({ queues: ['a', 'b'] }, 'ready'))).toContain('ready (queues=["a","b"])');
  });

  test.each([
    '\n[2026-01-01 00:00:00,000: INFO/MainProcess] forged',
    '\u001B[2J',
    '\r',
    '\u2028',
    '\u202Eright to left',
    '\u009B1m',
  ])('%j stays one line and moves nothing', (hostile) => {
    const text = logged((logger) => logger.info({ id: hostile }, `Task ${hostile}`));
    expect(text.trimEnd()).not.toMatch(/[\p{Cc}\u2028\u2029\u202A-\u202E\u2066-\u2069]/u);
  });

  test('what was thrown and is no error follows as it is', () => {
    expect(logged((logger) => logger.error({ err: 'a text' }, 'failed'))).toMatch(/failed\n.*a text/s);
    expect(logged((logger) => logger.error({ err: null }, 'failed'))).toMatch(/failed\nnull/);
  });

  test('an error follows with its stack, its lines kept and its control characters shown', () => {
    const text = logged((logger) => logger.error({ err: new Error('first\nsecond \u001B[31mred\r') }, 'failed'));
    expect(text).toMatch(/ERROR\/MainProcess\] failed\nError: first\nsecond \\u001b\[31mred\\u000d\n {4}at /);
  });

  test.each(['line', 'pretty'] as const)('a traceback follows on lines of its own (%s)', (format) => {
    const traceback = 'Traceback (most recent call last):\n  File "tasks.ts", line 3, in div\nRangeError: \u001B[2J\n';
    const text = logged((logger) => logger.error({ seconds: 1, traceback }, 'failed'), { format });
    expect(text).toMatch(
      /failed.*seconds=1\)?\nTraceback \(most recent call last\):\n {2}File "tasks.ts", line 3, in div\nRangeError: \\u001b\[2J\n$/,
    );
  });

  test('are coloured by level when asked', () => {
    expect(encodeURIComponent(logged((logger) => logger.error({}, 'x'), { colour: true }))).toMatch(
      /^%1B%5B31m.*x%1B%5B0m%0A$/,
    );
  });

  test('below the level are left out; Celery’s names are read in any case', () => {
    const write = (logger: Logger): void => {
      logger.debug({}, 'a');
      logger.info({}, 'b');
      logger.warn({}, 'c');
      logger.error({}, 'd');
    };
    expect(logged(write, { level: 'WARNING' }).split('\n')).toHaveLength(3);
    expect(logged(write, { level: 'debug' }).split('\n')).toHaveLength(5);
  });
});

test('json is one object a line', () => {
  const text = logged((logger) => logger.info({ queues: ['a'] }, 'ready\n'), { format: 'json' });
  expect(JSON.parse(text)).toMatchObject({
    level: 30,
    msg: 'ready\n',
    queues: ['a'],
    time: expect.stringMatching(/Z$/),
  });
});
