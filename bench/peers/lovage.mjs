// `enqueue N INFLIGHT`, `fill N` or `roundtrip N` with Lovage; prints one JSON object.
import { app, noop } from './lovage-app.mjs';
import { lanes } from './measure.mjs';

const [what, count, inFlight = '1000'] = process.argv.slice(2);
const total = Number(count);
await lanes(100, 10, () => noop.delay(1));
if (what === 'roundtrip') {
  const times = [];
  for (let index = 0; index < total; index++) {
    const began = performance.now();
    await (await noop.delay(index)).get({ timeout: 20 });
    times.push(performance.now() - began);
  }
  console.log(JSON.stringify({ times }));
} else {
  console.log(JSON.stringify({ perSecond: await lanes(total, Number(inFlight), (index) => noop.delay(index)) }));
}
await app.close();
