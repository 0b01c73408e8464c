/** Tasks as methods of Nest's providers: what a module imports and what its classes are decorated with. */
export { Every, OnSignal, Task, type NestTaskOptions } from './decorators.ts';
export { InjectTask, type TaskOf } from './inject-task.ts';
export { lovageApp } from './lovage-app.ts';
export { LovageModule } from './lovage.module.ts';
export type { LovageModuleOptions } from './module-options.ts';
