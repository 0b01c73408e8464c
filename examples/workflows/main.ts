import { chain, chord, group, isLovageError } from '@lovage/core';
import { add, announce, app, countWords, read } from './tasks.ts';

// One after the other: each takes what the one before returns, or this does not compile.
const one = await chain(read.s('a'), countWords.s()).delay();
console.log('words of a:', await one.get({ timeout: 10 }));

// At the same time; each as it comes.
const all = await group(['a', 'b', 'c'].map((name) => chain(read.s(name), countWords.s()))).delay();
for await (const { index, value } of all.iterate({ timeout: 10 })) console.log(`text ${index + 1}:`, value);

// A body that is given all results, and a step after it.
const counted = chord(
  ['a', 'b', 'c'].map((name) => chain(read.s(name), countWords.s())),
  add.s(),
);
const total = await chain(counted, announce.s('words')).delay();
console.log('in all:', await total.get({ timeout: 10 }));

// A part that fails ends all that waits for it.
const failing = await chord([read.s('a').pipe(countWords.s()), read.s('z').pipe(countWords.s())], add.s()).delay();
try {
  await failing.get({ timeout: 10 });
  process.exitCode = 1;
} catch (error) {
  if (!isLovageError(error, 'ERR_TASK_FAILED')) throw error;
  console.log('as expected:', error.message);
}
await app.close();
