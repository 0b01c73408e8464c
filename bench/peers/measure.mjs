/** Calls `act` `count` times, `inFlight` at once; gives calls per second. */
export async function lanes(count, inFlight, act) {
  let next = 0;
  const began = performance.now();
  const lane = async () => {
    for (let index = next++; index < count; index = next++) await act(index);
  };
  await Promise.all(Array.from({ length: Math.min(inFlight, count) }, lane));
  return (count / (performance.now() - began)) * 1000;
}

/** Counts runs; prints the rate from the first to the last of `count`, without the start-up, as one JSON object. */
export function runCounter(count, done) {
  let runs = 0;
  let began = 0;
  return () => {
    if (runs++ === 0) began = performance.now();
    if (runs === count) done({ perSecond: ((count - 1) / (performance.now() - began)) * 1000 });
  };
}

/** What a worker does for hours is measured, not how its code is compiled in its first seconds. */
const WARM_MS = 5000;
const COUNTED_MS = 3000;
const LEAST_ROUNDS = 5;

/** Milliseconds of each round of each case in three seconds, after five that are not counted. */
export async function timed(cases) {
  const times = {};
  for (const [name, run] of Object.entries(cases)) {
    await rounds(run, WARM_MS, 1);
    times[name] = await rounds(run, COUNTED_MS, LEAST_ROUNDS);
  }
  return times;
}

async function rounds(run, forMs, least) {
  const times = [];
  for (const end = performance.now() + forMs; performance.now() < end || times.length < least; ) {
    const began = performance.now();
    await run();
    times.push(performance.now() - began);
  }
  return times;
}
