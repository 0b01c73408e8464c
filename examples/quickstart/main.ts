// Sends tasks to the workers that `npm run demo` has started, and shows what becomes of them.
import { isLovageError } from '@lovage/core';
import { add, app, divide, flaky, whoRuns } from './tasks.ts';

const say = (what: string, value: unknown): void => console.log(`${what.padEnd(44)} ${String(value)}`);

const sum = await add.delay(2, 2);
say('add.delay(2, 2)', await sum.get({ timeout: 20 }));

const pids = await Promise.all(
  (await Promise.all(Array.from({ length: 8 }, () => whoRuns.delay(0.3)))).map((result) => result.get({ timeout: 20 })),
);
say('eight slow tasks ran in the processes', [...new Set(pids)].join(' and '));

say('flaky.delay("db"), which fails twice', await (await flaky.delay('db')).get({ timeout: 20 }));

const sent = Date.now();
const later = await add.applyAsync([20, 22], { countdown: 1.5 });
const answer = await later.get({ timeout: 20 });
say(`add.applyAsync([20, 22], { countdown: 1.5 })`, `${answer}, after ${((Date.now() - sent) / 1000).toFixed(1)} s`);

const broken = await divide.delay(1, 0);
try {
  await broken.get({ timeout: 20 });
} catch (error) {
  if (!isLovageError(error, 'ERR_TASK_FAILED')) throw error;
  say('divide.delay(1, 0)', `${await broken.state()}: ${error.message}`);
  console.log(
    ((await broken.traceback()) ?? '')
      .trimEnd()
      .split('\n')
      .slice(-2)
      .map((line) => `    ${line}`)
      .join('\n'),
  );
}

await app.close();
