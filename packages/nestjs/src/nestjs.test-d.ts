import type { TaskContext } from '@lovage/core';
import { expectTypeOf, test } from 'vitest';
import { Every, InjectTask, OnSignal, Task, type TaskOf } from './index.ts';

class Reports {
  @Every(60, ['sales'])
  @Every(60, ['sales', 2])
  @Task()
  async build(name: string, pages?: number): Promise<number> {
    return name.length + (pages ?? 0);
  }

  @Every(60, [1])
  @Task({ bind: true })
  bound(task: TaskContext, x: number): string {
    return `${task.request.id} ${x}`;
  }

  // @ts-expect-error the task takes a text
  @Every(60, [1])
  @Task()
  takesText(name: string): string {
    return name;
  }

  // @ts-expect-error the task takes an argument
  @Every(60)
  @Task()
  takesOne(name: string): string {
    return name;
  }

  // @ts-expect-error a failure is no number
  @OnSignal('taskFailure')
  onFailure(failure: number): void {
    void failure;
  }
}

test('a task of a method has its types', () => {
  type Build = TaskOf<Reports, 'build'>;
  expectTypeOf<Parameters<Build['delay']>>().toEqualTypeOf<[name: string, pages?: number | undefined]>();
  type Bound = TaskOf<Reports, 'bound'>;
  expectTypeOf<Parameters<Bound['delay']>>().toEqualTypeOf<[x: number]>();
});

test('only methods can be injected', () => {
  InjectTask(Reports, 'build');
  // @ts-expect-error there is no such method
  InjectTask(Reports, 'bild');
});
