import { ConfigError, Lovage } from '@lovage/core';
import { Inject, Module, type DynamicModule, type OnApplicationShutdown, type Provider } from '@nestjs/common';
import { DiscoveryModule, DiscoveryService, MetadataScanner, ModuleRef } from '@nestjs/core';
import { injectedTasks } from './inject-task.ts';
import { isLed } from './lovage-app.ts';
import {
  ConfigurableModuleClass,
  MODULE_OPTIONS_TOKEN,
  type ASYNC_OPTIONS_TYPE,
  type LovageModuleOptions,
  type OPTIONS_TYPE,
} from './module-options.ts';
import { LovageRunner } from './runner.module.ts';
import { nestLogger } from './nest-logger.ts';
import { NestTasks } from './nest-tasks.ts';

/**
 * Lovage in a Nest application: its providers' methods with `@Task()` are tasks, `Lovage` itself and every
 * `@InjectTask()` can be injected anywhere.
 *
 * With `worker` the tasks run in this process: from the end of the start on, until the application is closed. Then tasks
 * that run get `workerShutdownTimeout` seconds to finish while all providers still live. `app.enableShutdownHooks()` makes
 * that happen on SIGTERM. The module is global: import it once, in the root module.
 *
 * @example
 * const root = { imports: [LovageModule.forRoot({ broker: 'redis://localhost', worker: true })], providers: [MailTasks] }
 */
@Module({ imports: [DiscoveryModule, LovageRunner] })
export class LovageModule extends ConfigurableModuleClass implements OnApplicationShutdown {
  readonly #app: Lovage;
  readonly #isOwner: boolean;

  constructor(@Inject(Lovage) app: Lovage, @Inject(MODULE_OPTIONS_TOKEN) options: LovageModuleOptions) {
    super();
    this.#app = app;
    this.#isOwner = options.lovage === undefined && !isLed();
  }

  /** Makes the app of these settings. */
  static override forRoot(options: typeof OPTIONS_TYPE): DynamicModule {
    return withTasks(super.forRoot(options));
  }

  /** The same with options that come from other providers: `useFactory` with `inject`, `useClass`, `useExisting`. */
  static override forRootAsync(options: typeof ASYNC_OPTIONS_TYPE): DynamicModule {
    return withTasks(super.forRootAsync(options));
  }

  /** Closes the app, unless somebody else does. */
  async onApplicationShutdown(): Promise<void> {
    if (this.#isOwner) await this.#app.close();
  }
}

function withTasks(module: DynamicModule): DynamicModule {
  const providers: Provider[] = [
    {
      provide: Lovage,
      inject: [MODULE_OPTIONS_TOKEN],
      useFactory: openApp,
    },
    {
      provide: NestTasks,
      inject: [Lovage, ModuleRef, DiscoveryService, MetadataScanner],
      useFactory: (app: Lovage, modules: ModuleRef, discovery: DiscoveryService, scanner: MetadataScanner) => {
        const tasks = new NestTasks(app, modules);
        tasks.register(discovery, scanner);
        return tasks;
      },
    },
    ...[...injectedTasks()].map(([token, asked]) => ({
      provide: token,
      inject: [NestTasks],
      useFactory: (tasks: NestTasks) => tasks.injected(asked),
    })),
  ];
  return {
    ...module,
    global: true,
    providers: [...(module.providers ?? []), ...providers],
    exports: [...(module.exports ?? []), MODULE_OPTIONS_TOKEN, Lovage, ...injectedTasks().keys()],
  };
}

function openApp(options: LovageModuleOptions): Lovage {
  const { name = 'nest', lovage, worker: _, beat: __, ...settings } = options;
  if (settings.app !== undefined || settings.tasks !== undefined) {
    throw new ConfigError(
      'LovageModule was given "app" or "tasks", which are for the lovage command. Its tasks are the methods with @Task(); for files of tasks inject Lovage and call autodiscoverTasks().',
    );
  }
  if (lovage === undefined) return new Lovage(name, { logger: nestLogger(), ...settings });
  const unused = Object.keys(settings);
  if (unused.length > 0) {
    throw new ConfigError(
      `LovageModule got an app, and ${unused.join(', ')} beside it. Settings belong to where it is made.`,
    );
  }
  return lovage;
}
