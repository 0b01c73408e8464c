import type { Lovage, LovageOptions } from '@lovage/core';
import type { BeatOptions } from '@lovage/beat';
import type { WorkerOptions } from '@lovage/worker';
import { ConfigurableModuleBuilder } from '@nestjs/common';

/** Options of `LovageModule.forRoot`: every setting of an app, and what runs in this process. */
export interface LovageModuleOptions extends LovageOptions {
  /** The app's name. Default `nest`. */
  readonly name?: string;
  /** An app that was made elsewhere, instead of settings. Whoever made it closes it. */
  readonly lovage?: Lovage;
  /**
   * Run the tasks in this process, from the start of the application to its end: true, or the options of the worker. It
   * needs `@lovage/worker`. Default: tasks are only sent from here.
   */
  readonly worker?: boolean | WorkerOptions;
  /** Send periodic tasks from this process: true, or the options of beat. It needs `@lovage/beat`. Default false. */
  readonly beat?: boolean | BeatOptions;
}

export const { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN, OPTIONS_TYPE, ASYNC_OPTIONS_TYPE } =
  new ConfigurableModuleBuilder<LovageModuleOptions>({ moduleName: 'Lovage' }).setClassMethodName('forRoot').build();
