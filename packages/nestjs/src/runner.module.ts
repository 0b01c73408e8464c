import { ConfigError, Lovage } from '@lovage/core';
import type { Beat } from '@lovage/beat';
import type { Worker } from '@lovage/worker';
import { Inject, Logger, Module, type OnApplicationBootstrap, type OnModuleDestroy } from '@nestjs/common';
import { ModulesContainer } from '@nestjs/core';
import { isLed } from './lovage-app.ts';
import { MODULE_OPTIONS_TOKEN, type LovageModuleOptions } from './module-options.ts';

/**
 * The worker and beat in this process. Tasks use any provider of the application, so they begin after every other module
 * has started and have ended before any other is destroyed. Nest destroys modules from the root to the farthest, global
 * ones last; this one puts itself before the root.
 */
@Module({})
export class LovageRunner implements OnApplicationBootstrap, OnModuleDestroy {
  readonly #app: Lovage;
  readonly #options: LovageModuleOptions;
  #worker: Worker | undefined;
  #beat: Beat | undefined;

  constructor(
    @Inject(Lovage) app: Lovage,
    @Inject(MODULE_OPTIONS_TOKEN) options: LovageModuleOptions,
    @Inject(ModulesContainer) modules: ModulesContainer,
  ) {
    this.#app = app;
    this.#options = options;
    for (const module of modules.values()) if (module.metatype === LovageRunner) module.distance = -1;
  }

  async onApplicationBootstrap(): Promise<void> {
    if (isLed()) return;
    try {
      await this.#start();
    } catch (error) {
      // Nest destroys no module of an application that has not started.
      await this.onModuleDestroy();
      if (this.#options.lovage === undefined) await this.#app.close();
      throw error;
    }
  }

  async #start(): Promise<void> {
    const { worker = false, beat = false } = this.#options;
    if (worker !== false) {
      const { isInChild, Worker } = await import('@lovage/worker').catch(missing('worker'));
      // A child of a pool loads the application to run tasks that its parent gives it.
      if (isInChild()) return;
      // What cannot pass ends the start. A broker that is away may come back, and must not keep requests from being taken.
      await this.#app.loadTransports();
      await this.#app.importTasks();
      this.#worker = new Worker(this.#app, worker === true ? {} : worker);
      report('The worker has stopped.', this.#worker.done);
      void this.#worker.start();
    }
    if (beat !== false) {
      const { Beat } = await import('@lovage/beat').catch(missing('beat'));
      this.#beat = new Beat(this.#app, beat === true ? {} : beat);
      await this.#beat.start();
      report('Beat has stopped.', this.#beat.done);
    }
  }

  async onModuleDestroy(): Promise<void> {
    await this.#beat?.stop();
    await this.#worker?.stop('warm');
  }
}

function missing(name: string): (cause: unknown) => never {
  return (cause) => {
    throw new ConfigError(
      `LovageModule was asked for a ${name}, and @lovage/${name} could not be loaded: npm install @lovage/${name}.`,
      { cause },
    );
  };
}

/** What ends a worker later than its start is logged: nobody awaits it. */
function report(message: string, done: Promise<void>): void {
  done.catch((error: unknown) => new Logger('Lovage').error(message, error instanceof Error ? error.stack : error));
}
