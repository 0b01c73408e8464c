import { expectTypeOf, test } from 'vitest';
import type { RetryPolicy } from './option-names.ts';
import { readSettings } from './settings.ts';
import type { SettingName, Settings, SettingsInput } from './settings-table.ts';

test('what the library reads', () => {
  expectTypeOf<Settings['taskAcksLate']>().toEqualTypeOf<boolean>();
  expectTypeOf<Settings['taskTimeLimit']>().toEqualTypeOf<number | undefined>();
  expectTypeOf<Settings['resultExpires']>().toEqualTypeOf<number | null>();
  expectTypeOf<Settings['workerPool']>().toEqualTypeOf<'async' | 'threads' | 'processes' | 'solo'>();
  expectTypeOf<Settings['workerConcurrency']>().toEqualTypeOf<number>();
  expectTypeOf<Settings['brokerUrl']>().toEqualTypeOf<string | readonly string[]>();
  expectTypeOf<Settings['taskDefaultDeliveryMode']>().toEqualTypeOf<1 | 2>();
  expectTypeOf<Settings['taskPublishRetryPolicy']>().toEqualTypeOf<Required<RetryPolicy>>();
  expectTypeOf(readSettings([])).toEqualTypeOf<Settings>();
  // @ts-expect-error settings do not change
  readSettings([]).taskAcksLate = false;
});

test('what may be given', () => {
  const input: SettingsInput = {
    broker: ['redis://one', 'redis://two'],
    backend: null,
    taskTimeLimit: null,
    workerPool: 'gevent',
    taskDefaultDeliveryMode: 'persistent',
    imports: 'tasks.js',
    taskQueues: ['a', { name: 'b', exchange: { name: 'x', type: 'topic' } }],
    taskRoutes: [{ 'a.*': 'a' }, [[/^b/, { queue: 'b', priority: 3 }]], (name) => ({ queue: name })],
  };
  expectTypeOf(input).toExtend<SettingsInput>();
  expectTypeOf<'taskSerializer'>().toExtend<SettingName>();
  // @ts-expect-error a misspelt name
  expectTypeOf({ taskSerialiser: 'json' } satisfies SettingsInput);
  // @ts-expect-error a wrong value
  expectTypeOf({ taskAcksLate: 'yes' } satisfies SettingsInput);
  // @ts-expect-error null only where it means something
  expectTypeOf({ taskSerializer: null } satisfies SettingsInput);
});
