import { afterEach, expect, test, vi } from 'vitest';
import { applyCommandLineSettings } from './command-line-settings.ts';

afterEach(() => vi.unstubAllEnvs());

test.each([
  ['worker.prefetch_multiplier=10', 'LOVAGE_WORKER_PREFETCH_MULTIPLIER', '10'],
  ['WORKER_Prefetch_Multiplier=10', 'LOVAGE_WORKER_PREFETCH_MULTIPLIER', '10'],
  ['.prefetch_multiplier=10', 'LOVAGE_WORKER_PREFETCH_MULTIPLIER', '10'],
  ['_concurrency=(int)3', 'LOVAGE_WORKER_CONCURRENCY', '3'],
  ['task.acks_late=(bool)no', 'LOVAGE_TASK_ACKS_LATE', 'false'],
  ['broker.transport_options=(dict){"a": [1]}', 'LOVAGE_BROKER_TRANSPORT_OPTIONS', '{"a":[1]}'],
  ['result.expires=None', 'LOVAGE_RESULT_EXPIRES', 'None'],
  ['accept_content=(list)["json", "yaml"]', 'LOVAGE_ACCEPT_CONTENT', '["json","yaml"]'],
  ['timezone=Europe/Berlin', 'LOVAGE_TIMEZONE', 'Europe/Berlin'],
  ['CELERYD_CONCURRENCY=3', 'LOVAGE_WORKER_CONCURRENCY', '3'],
  ['broker.url=redis://a/?x=1', 'CELERY_BROKER_URL', 'redis://a/?x=1'],
])('%s', (given, variable, value) => {
  vi.stubEnv(variable, undefined);
  applyCommandLineSettings([given], 'worker');
  expect(process.env[variable]).toBe(value);
});

test.each([
  ['foo', '"foo" is no setting. Expected NAME=VALUE, for example worker.prefetch_multiplier=10.'],
  ['amqp://ada:hush@host', '"amqp://ada:**@host" is no setting.'],
  ['amqp://ada:hush@host/?a=1', '"amqp://ada:**@host'],
  ['=1', '"=1" is no setting.'],
  ['worker.prefetch_multiplyer=1', 'There is no setting "worker.prefetch_multiplyer". Did you mean'],
  ['worker.concurrency=many', 'The value of worker.concurrency is wrong. Expected an integer'],
  ['worker.concurrency=', 'The value of worker.concurrency is wrong. Expected an integer'],
  ['worker.concurrency=(int)many', 'The value of worker.concurrency is no int.'],
  ['worker.concurrency=(number)1', 'unknown type "number". Expected one of: any, string, int'],
  ['broker.transport_options=(json){', 'The value of broker.transport_options is no json.'],
])('%s is refused', (given, message) => {
  expect(() => applyCommandLineSettings([given], 'worker')).toThrow(message);
});
