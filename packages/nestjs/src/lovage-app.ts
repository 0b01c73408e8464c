import { AsyncLocalStorage } from 'node:async_hooks';
import { Lovage } from '@lovage/core';
import type { Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';

type ContextOptions = Parameters<typeof NestFactory.createApplicationContext>[1];

const led = new AsyncLocalStorage<true>();

/**
 * A Nest application for the `lovage` command, and for the children of a pool: its app, to be exported. The command runs
 * worker and beat, whatever `worker` and `beat` of the module say, and the application is closed with the app.
 *
 * @example
 * export const app = await lovageApp(AppModule) // worker.ts, for: lovage -A ./dist/worker.js worker -P processes
 */
export async function lovageApp(root: Type, options: ContextOptions = {}): Promise<Lovage> {
  const context = await led.run(true, () =>
    NestFactory.createApplicationContext(root, Object.assign({ abortOnError: false }, options)),
  );
  const app = context.get(Lovage);
  return app.onClose(() => context.close());
}

/** True while an application is started whose app somebody else runs and closes. */
export function isLed(): boolean {
  return led.getStore() === true;
}
