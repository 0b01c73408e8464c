import 'reflect-metadata';
import {
  ConfigError,
  ConnectError,
  crontab,
  Lovage,
  type RemoteTask,
  type SignalMap,
  type TaskContext,
} from '@lovage/core';
import { type BrokerUrl, parseBrokerUrls, resolveTransport, type Transport } from '@lovage/core/transport';
import { Worker } from '@lovage/worker';
import {
  ConsoleLogger,
  Inject,
  Injectable,
  Logger as NestLogger,
  Module,
  Scope,
  type INestApplicationContext,
  type OnModuleDestroy,
  type Type,
} from '@nestjs/common';
import { NestFactory, REQUEST } from '@nestjs/core';
import { afterEach, describe, expect, it, test } from 'vitest';
import {
  Every,
  InjectTask,
  lovageApp,
  LovageModule,
  OnSignal,
  Task,
  type LovageModuleOptions,
  type TaskOf,
} from './index.ts';

@Injectable()
class Mailer implements OnModuleDestroy {
  readonly sent: string[] = [];
  isGone = false;

  onModuleDestroy(): void {
    this.isGone = true;
  }
}

@Module({ providers: [Mailer], exports: [Mailer] })
class MailerModule {}

@Injectable()
class MailTasks {
  @Inject(Mailer) private readonly mailer!: Mailer;

  @Task('mail.welcome', { queue: 'mail' })
  async welcome(to: string, subject = 'Welcome'): Promise<number> {
    return this.mailer.sent.push(`${subject} ${to}`);
  }

  @Every(crontab({ minute: 0, hour: 3 }), ['old'], { name: 'nightly', tz: 'Europe/Paris' })
  @Every(3600, ['new'])
  @Task({ bind: true })
  clean(task: TaskContext, which: string): string {
    return `${task.request.task} ${which}`;
  }
}

const opened: INestApplicationContext[] = [];
afterEach(async () => {
  await Promise.all(opened.splice(0).map((context) => context.close()));
});

const quiet = { debug() {}, info() {}, warn() {}, error() {} };
const MEMORY = { broker: 'memory://', backend: 'memory://' };

async function open(
  options: LovageModuleOptions,
  { imports = [], providers = [] }: { imports?: Type[]; providers?: Type[] } = {},
): Promise<INestApplicationContext> {
  @Module({
    imports: [LovageModule.forRoot(options.lovage ? options : { ...MEMORY, ...options }), ...imports],
    providers,
  })
  class Root {}
  const context = await NestFactory.createApplicationContext(Root, { logger: ['error'], abortOnError: false });
  opened.push(context);
  return context;
}

describe('a task of a provider', () => {
  it('runs with the dependencies of its provider, and is sent by whoever injects it', async () => {
    @Injectable()
    class Signup {
      @InjectTask(MailTasks, 'welcome') readonly welcome!: TaskOf<MailTasks, 'welcome'>;
      @InjectTask('mail.welcome') readonly byName!: RemoteTask<[to: string], number>;
      @InjectTask(MailTasks, 'clean') readonly clean!: TaskOf<MailTasks, 'clean'>;
    }
    const context = await open(
      { worker: { queues: ['mail', 'celery'] }, taskCreateMissingQueues: true },
      { imports: [MailerModule], providers: [MailTasks, Signup] },
    );
    const { welcome, byName, clean } = context.get(Signup);
    const first = await welcome.delay('ada@example.org');
    expect(await first.get({ timeout: 5 })).toBe(1);
    expect(await (await byName.delay('bob@example.org')).get({ timeout: 5 })).toBe(2);
    expect(await (await clean.delay('logs')).get({ timeout: 5 })).toBe('MailTasks.clean logs');
    expect(context.get(Mailer).sent).toEqual(['Welcome ada@example.org', 'Welcome bob@example.org']);
  });

  it('is made anew for each run when it is in the scope of a request, which is the run', async () => {
    let made = 0;
    @Injectable({ scope: Scope.REQUEST })
    class PerRun {
      readonly number = ++made;
      @Inject(REQUEST) readonly task!: TaskContext;

      @Task('per.run')
      whoAmI(): [number, string] {
        return [this.number, this.task.request.id];
      }
    }
    const context = await open({ worker: true }, { providers: [PerRun] });
    const app = context.get(Lovage);
    const [one, two] = [await app.sendTask('per.run'), await app.sendTask('per.run')];
    expect([await one.get({ timeout: 5 }), await two.get({ timeout: 5 })]).toEqual([
      [1, one.id],
      [2, two.id],
    ]);
  });

  it('is made anew for each run, all of it, when it is transient', async () => {
    @Injectable({ scope: Scope.TRANSIENT })
    class Fresh {
      readonly seen: number[] = [];
      @Inject(Mailer) readonly mailer!: Mailer;

      @Task('fresh')
      count(): [number, number] {
        return [this.seen.push(1), this.mailer.sent.length];
      }
    }
    const context = await open({ worker: true }, { imports: [MailerModule], providers: [Fresh] });
    const app = context.get(Lovage);
    expect(await (await app.sendTask('fresh')).get({ timeout: 5 })).toEqual([1, 0]);
    expect(await (await app.sendTask('fresh')).get({ timeout: 5 })).toEqual([1, 0]);
  });

  it('fails as a task does that is called with too few arguments', async () => {
    const context = await open({ worker: { queues: ['mail'] } }, { imports: [MailerModule], providers: [MailTasks] });
    await expect((await context.get(Lovage).sendTask('mail.welcome')).get({ timeout: 5 })).rejects.toThrow(
      /missing 1 required positional argument/,
    );
  });

  it('that is not provided here is sent with its options, and no worker of this process takes it', async () => {
    @Injectable()
    class Web {
      @InjectTask(MailTasks, 'welcome') readonly welcome!: TaskOf<MailTasks, 'welcome'>;
    }
    const context = await open({}, { providers: [Web] });
    const app = context.get(Lovage);
    const sent = new Promise<SignalMap['afterTaskPublish']>((resolve) => app.on('afterTaskPublish', resolve));
    await context.get(Web).welcome.delay('ada@example.org');
    expect(await sent).toMatchObject({ task: 'mail.welcome', routingKey: 'mail' });
    expect(app.tasks.names()).toEqual([]);
  });

  it('is not that of another class of the same name', async () => {
    const [One, Two] = ['one', 'two'].map((queue) => {
      class Jobs {
        @Task({ queue })
        run(): void {}
      }
      return Jobs;
    }) as [Type<{ run(): void }>, Type<{ run(): void }>];
    @Injectable()
    class Web {
      @InjectTask(One, 'run') readonly one!: TaskOf<{ run(): void }, 'run'>;
      @InjectTask(Two, 'run') readonly two!: TaskOf<{ run(): void }, 'run'>;
    }
    for (const providers of [[Web], [Web, Two]]) {
      const context = await open({ taskCreateMissingQueues: true }, { providers });
      const keys: unknown[] = [];
      context.get(Lovage).on('afterTaskPublish', ({ routingKey }) => keys.push(routingKey));
      await context.get(Web).one.delay();
      await context.get(Web).two.delay();
      expect(keys).toEqual(['one', 'two']);
    }
  });
});

describe('LovageModule', () => {
  it('lets running tasks end before any other module is destroyed', async () => {
    let begun = (): void => {};
    let finish = (): void => {};
    const running = new Promise<void>((resolve) => (begun = resolve));
    const mayEnd = new Promise<void>((resolve) => (finish = resolve));
    const seen: boolean[] = [];
    @Injectable()
    class Slow {
      @Inject(Mailer) private readonly mailer!: Mailer;

      @Task('slow')
      async run(): Promise<void> {
        begun();
        await mayEnd;
        seen.push(this.mailer.isGone);
      }
    }
    const context = await open({ worker: true }, { imports: [MailerModule], providers: [Slow] });
    const app = context.get(Lovage);
    await app.sendTask('slow');
    await running;
    app.on('workerShuttingDown', finish);
    await context.close();
    expect(seen).toEqual([false]);
    expect(context.get(Mailer).isGone).toBe(true);
    await expect(app.sendTask('slow')).rejects.toThrow(/closed/);
  });

  it('takes its options from other providers, and an app that was made elsewhere stays open', async () => {
    const app = new Lovage('given', { broker: 'memory://', backend: 'memory://' });
    @Module({
      imports: [
        LovageModule.forRootAsync({
          imports: [MailerModule],
          inject: [Mailer],
          useFactory: (mailer: Mailer) => ({ lovage: app, worker: mailer.sent.length === 0 }),
        }),
        MailerModule,
      ],
      providers: [MailTasks],
    })
    class Root {}
    const context = await NestFactory.createApplicationContext(Root, { logger: false, abortOnError: false });
    expect(context.get(Lovage)).toBe(app);
    expect(await (await app.sendTask('MailTasks.clean', { args: ['x'] })).get({ timeout: 5 })).toBe(
      'MailTasks.clean x',
    );
    await context.close();
    const worker = new Worker(app);
    await worker.start();
    await worker.stop();
    await app.close();
  });

  it('starts while the broker is away, and takes tasks when it is back', async () => {
    const memory = await resolveTransport(parseBrokerUrls('memory://')[0] as BrokerUrl);
    let isAway = true;
    let refused = (): void => {};
    const refusal = new Promise<void>((resolve) => (refused = resolve));
    const transport: Transport = {
      schemes: ['faulty'],
      connect(url, options) {
        if (!isAway) return memory.connect(url, options);
        refused();
        return Promise.reject(new ConnectError('The broker is away.'));
      },
    };
    const context = await open(
      { broker: 'faulty://', transports: [transport], logger: quiet, worker: true },
      { imports: [MailerModule], providers: [MailTasks] },
    );
    await refusal;
    isAway = false;
    const sent = await context.get(Lovage).sendTask('MailTasks.clean', { args: ['x'] });
    expect(await sent.get({ timeout: 5 })).toBe('MailTasks.clean x');
  });

  it('does not start with a worker that never can, or beat, and leaves nothing running', async () => {
    await expect(open({ broker: 'carrier-pigeon://', worker: true })).rejects.toThrow(/carrier-pigeon/);
    await expect(open({ worker: { concurency: 1 } as never })).rejects.toThrow(/Unknown worker option "concurency"/);
    const app = new Lovage('halves', { ...MEMORY, beatSchedule: { wrong: { task: 'a', shedule: 5 } } as never });
    let begun = 0;
    let ended = 0;
    app.on('workerInit', () => void begun++);
    app.on('workerShutdown', () => void ended++);
    await expect(open({ lovage: app, worker: true, beat: { schedule: 'memory://' } })).rejects.toThrow(/shedule/);
    expect([begun, ended]).toEqual([1, 1]);
    await app.close();
  });

  it('makes no lines that its log would not show', async () => {
    const context = await open({});
    NestLogger.overrideLogger(new ConsoleLogger({ logLevels: ['error'] }));
    const { logger } = context.get(Lovage) as unknown as { logger: { isLevelEnabled(level: string): boolean } };
    expect(['debug', 'info', 'error'].map((level) => logger.isLevelEnabled(level))).toEqual([false, false, true]);
  });

  it('declares periodic tasks, and sends them with beat', async () => {
    let ran = (): void => {};
    const run = new Promise<void>((resolve) => (ran = resolve));
    @Injectable()
    class Ticking {
      @Every(0.05)
      @Task('tick')
      tick(): void {
        ran();
      }
    }
    const context = await open(
      { worker: true, beat: { schedule: 'memory://' } },
      { imports: [MailerModule], providers: [MailTasks, Ticking] },
    );
    expect(context.get(Lovage).periodicTasks).toMatchObject([
      { name: 'nightly', task: 'MailTasks.clean', args: ['old'], tz: 'Europe/Paris' },
      { name: 'MailTasks.clean("new")', schedule: 3600 },
      { name: 'tick()' },
    ]);
    await run;
  });

  it('calls methods of providers at signals', async () => {
    let seen: (failure: SignalMap['taskFailure']) => void;
    const failed = new Promise<SignalMap['taskFailure']>((resolve) => (seen = resolve));
    @Injectable()
    class Alerts {
      @Inject(Mailer) private readonly mailer!: Mailer;

      @OnSignal('taskFailure')
      onFailure(failure: SignalMap['taskFailure']): void {
        if (!this.mailer.isGone) seen(failure);
      }

      @Task('explode')
      explode(): never {
        throw new RangeError('too far');
      }
    }
    const context = await open({ worker: true }, { imports: [MailerModule], providers: [Alerts] });
    await context.get(Lovage).sendTask('explode');
    expect(await failed).toMatchObject({ taskId: expect.any(String), exception: { exc_type: 'RangeError' } });
  });
});

test('the app of the lovage command is run and closed by it', async () => {
  @Module({ imports: [LovageModule.forRoot({ ...MEMORY, worker: true }), MailerModule], providers: [MailTasks] })
  class Root {}
  const app = await lovageApp(Root, { logger: false });
  const { tasks } = app;
  expect(tasks.names()).toEqual(['mail.welcome', 'MailTasks.clean']);
  const sent = await app.sendTask('MailTasks.clean', { args: ['x'] });
  const worker = new Worker(app);
  await worker.start();
  expect(await sent.get({ timeout: 5 })).toBe('MailTasks.clean x');
  await worker.stop();
  await app.close();
});

describe('a mistake', () => {
  it('of a decorator is an error that names the place', () => {
    expect(() => {
      class Tools {
        @Task()
        static run(): void {}
      }
      return Tools;
    }).toThrow(/@Task\(\) is on Tools\.run, which cannot be called on a provider/);
    expect(() => InjectTask(MailTasks, 'wellcome' as 'welcome')).toThrow(/MailTasks\.wellcome is no task/);
    expect(() => InjectTask(undefined as unknown as typeof MailTasks, 'welcome')).toThrow(/the class is not there yet/);
  });

  it('is a task of two methods, and a schedule of no task', async () => {
    class One {
      @Task('same')
      run(): void {}
    }
    class Two {
      @Task('same')
      run(): void {}
    }
    class Idle {
      @Every(1)
      run(): void {}
    }
    await expect(open({}, { providers: [One, Two] })).rejects.toThrow(
      /Two methods are the task "same": One\.run of Root and Two\.run of Root/,
    );
    await expect(open({}, { providers: [Idle] })).rejects.toThrow(ConfigError);
  });

  it('is a setting beside an app', async () => {
    const app = new Lovage('given', { broker: 'memory://' });
    await expect(open({ lovage: app, broker: 'memory://', backend: 'memory://' })).rejects.toThrow(
      /LovageModule got an app, and broker, backend beside it/,
    );
  });
});
