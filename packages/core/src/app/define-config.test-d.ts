import { expectTypeOf, test } from 'vitest';
import { defineConfig, Lovage, type LovageConfig } from '../index.ts';

test('a config is typed as settings are', () => {
  const config = defineConfig({
    app: './src/app.ts',
    tasks: ['src/**/tasks.ts'],
    broker: 'redis://localhost',
    workerPool: 'threads',
    CELERYD_TASK_TIME_LIMIT: 5,
    BROKER_URL: 'redis://localhost',
  });
  expectTypeOf(config).toEqualTypeOf<LovageConfig>();
  expectTypeOf(new Lovage('a', config)).toEqualTypeOf<Lovage>();
  // @ts-expect-error a misspelt name
  defineConfig({ taskSerialiser: 'json' });
  // @ts-expect-error a wrong value
  defineConfig({ workerConcurrency: 'many' });
  // @ts-expect-error a wrong part
  defineConfig({ tasks: 5 });
});

test('settings of an object are there at once, those of a module when it is loaded', () => {
  const app = new Lovage('a');
  expectTypeOf(app.configFrom({ task_serializer: 'json' })).toEqualTypeOf<Lovage>();
  expectTypeOf(app.configFrom(process.env, { namespace: 'CELERY' })).toEqualTypeOf<Lovage>();
  expectTypeOf(app.configFrom('./settings.ts')).resolves.toEqualTypeOf<Lovage>();
});
