// Times workflows with Lovage: a chord of 100, a chain of 100 and a group of 1,000 no-op tasks, results waited for.
import { chain, chord, group } from '@lovage/core';
import { app, noop } from './lovage-app.mjs';
import { timed } from './measure.mjs';

const times = await timed({
  chord: async () =>
    (
      await chord(
        Array.from({ length: 100 }, (_, n) => noop.s(n)),
        noop.s(),
      ).delay()
    ).get({ timeout: 60 }),
  chain: async () => (await chain(...Array.from({ length: 100 }, (_, n) => noop.s(n))).delay()).get({ timeout: 60 }),
  group: async () => (await group(Array.from({ length: 1000 }, (_, n) => noop.s(n))).delay()).get({ timeout: 60 }),
});
console.log(JSON.stringify(times));
await app.close();
