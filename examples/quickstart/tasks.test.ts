// Tests of the tasks: everything runs in this process, without a broker or a worker.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chain } from '@lovage/core';
import { add, app, divide, flaky } from './tasks.ts';

app.configFrom({ taskAlwaysEager: true });

void test('a sum', async () => {
  const result = await add.delay(2, 2);
  assert.equal(await result.get(), 4);
});

void test('a task that fails twice is tried again', async () => {
  const result = await flaky.delay('db');
  assert.equal(await result.get(), 'db answered at attempt 3');
});

void test('an error is in the result', async () => {
  const result = await divide.delay(1, 0);
  assert.equal(await result.state(), 'FAILURE');
  await assert.rejects(result.get(), RangeError);
});

void test('a workflow', async () => {
  const result = await chain(add.s(1, 2), add.s(3), divide.s(2)).delay();
  assert.equal(await result.get(), 3);
});
