import {
  ConfigError,
  currentTask,
  Task,
  type AnyTask,
  type Lovage,
  type RemoteTask,
  type SignalName,
  type TaskContext,
} from '@lovage/core';
import { ContextIdFactory, type ModuleRef, type DiscoveryService, type MetadataScanner } from '@nestjs/core';
import { readMarks, type MethodMarks } from './decorators.ts';
import { taskName, type InjectedTask, type TaskClass } from './inject-task.ts';

type Wrapper = ReturnType<DiscoveryService['getProviders']>[number];
type Method = (...args: unknown[]) => unknown;

/** A decorated method of a provider of this application. */
interface Found {
  readonly target: TaskClass;
  readonly method: string;
  readonly marks: MethodMarks;
  readonly wrapper: Wrapper;
}

/** The decorated methods of an application's providers and controllers, as tasks of its app. */
export class NestTasks {
  readonly #app: Lovage;
  readonly #modules: ModuleRef;
  /** The class of each registered task. */
  readonly #targets = new Map<string, TaskClass>();

  constructor(app: Lovage, modules: ModuleRef) {
    this.#app = app;
    this.#modules = modules;
  }

  /** Registers what there is. Nest knows all classes before it makes the first instance. */
  register(discovery: DiscoveryService, scanner: MetadataScanner): void {
    const owners = new Map<string, string>();
    for (const found of findMarked(discovery, scanner)) {
      const { target, method, marks, wrapper } = found;
      const place = `${target.name}.${method} of ${wrapper.host?.name ?? 'no module'}`;
      if (marks.task === undefined && marks.periodic.length > 0) {
        throw new ConfigError(`${place} has @Every() and no @Task(). Add @Task().`);
      }
      if (marks.task !== undefined) {
        const name = taskName(target, method);
        const other = owners.get(name);
        if (other !== undefined) {
          throw new ConfigError(
            `Two methods are the task "${name}": ${other} and ${place}. Give each a name of its own; provide a class in one module and export it from there.`,
          );
        }
        owners.set(name, place);
        this.#add(found, name);
      }
      for (const signal of marks.signals) this.#listen(signal, found);
    }
  }

  /** What {@link InjectTask} gives. */
  injected({ name, owner }: InjectedTask): AnyTask | RemoteTask<unknown[], unknown> {
    const registered = this.#app.tasks.get(name);
    if (registered !== undefined && (owner === undefined || this.#isOf(owner.target, name))) return registered;
    if (owner === undefined) return this.#app.remote<Method>(name);
    const { target, method } = owner;
    // Not registered: no worker of this process may take what it could not run.
    return makeTask(this.#app, name, target, method, () => {
      throw new ConfigError(`${target.name} is no provider of this application, so "${name}" cannot run here.`);
    });
  }

  /** False when the registered task of this name is that of another class, which has only the name in common. */
  #isOf(asked: TaskClass, name: string): boolean {
    const target = this.#targets.get(name);
    if (target === undefined || target === asked) return true;
    return target.prototype instanceof asked || asked.prototype instanceof target;
  }

  #add({ target, method, marks, wrapper }: Found, name: string): void {
    const task = makeTask(this.#app, name, target, method, (args) => this.#call(wrapper, method, args));
    this.#app.tasks.register(task);
    this.#targets.set(name, target);
    for (const { schedule, args, options } of marks.periodic) task.every(schedule, args as never, options);
  }

  #listen(signal: SignalName, { wrapper, method }: Found): void {
    this.#app.on(signal, (event) => this.#call(wrapper, method, [event]));
  }

  #call(wrapper: Wrapper, method: string, args: unknown[]): unknown {
    // Of a transient provider Nest keeps no instance that was constructed.
    if (wrapper.isDependencyTreeStatic() && !wrapper.isTransient) {
      return callMethod(wrapper.instance as object, method, args);
    }
    return this.#resolve(wrapper).then((instance) => callMethod(instance, method, args));
  }

  /** A provider that is made for each request, or for each that uses it, is made for each run. */
  #resolve(wrapper: Wrapper): Promise<object> {
    const id = ContextIdFactory.create();
    this.#modules.registerRequestByContextId<TaskContext | undefined>(currentTask.getStore(), id);
    return this.#modules.resolve(wrapper.token, id, { strict: false });
  }
}

function* findMarked(discovery: DiscoveryService, scanner: MetadataScanner): Generator<Found> {
  for (const wrapper of [...discovery.getProviders(), ...discovery.getControllers()]) {
    const target = classOf(wrapper);
    if (target === undefined) continue;
    const prototype = target.prototype as object;
    for (const method of scanner.getAllMethodNames(prototype)) {
      const marks = readMarks(prototype, method);
      if (marks !== undefined) yield { target, method, marks, wrapper };
    }
  }
}

/** The class of a provider, a factory's too when it is provided under its class. */
function classOf({ isAlias, token, metatype, inject }: Wrapper): TaskClass | undefined {
  if (isAlias) return undefined;
  const named = [token, ...(inject === undefined || inject === null ? [metatype] : [])];
  return named.find((value): value is TaskClass => typeof value === 'function' && value.prototype !== undefined);
}

function makeTask(
  app: Lovage,
  name: string,
  target: TaskClass,
  method: string,
  run: (args: unknown[]) => unknown,
): AnyTask {
  const prototype = target.prototype as Record<string, Method>;
  const { name: _, ...options } = readMarks(prototype, method)?.task ?? {};
  const Base = (options.base ?? Task) as typeof Task;
  // A stand-in for the method: it takes as many arguments.
  const fn = new Proxy(prototype[method] as Method, { apply: (_method, _this, args: unknown[]) => run(args) });
  return new Base(app, name, options, fn as never);
}

function callMethod(instance: object, method: string, args: unknown[]): unknown {
  return (instance as Record<string, Method>)[method]?.(...args);
}
