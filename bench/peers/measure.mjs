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

/**
 * Milliseconds of nine rounds of each case, after twenty that are not counted: what a worker does for hours, not how its code
 * is compiled in its first second.
 */
export async function timed(cases, rounds = 9, uncounted = 20) {
  const times = {};
  for (const [name, run] of Object.entries(cases)) {
    times[name] = [];
    for (let round = -uncounted; round < rounds; round++) {
      const began = performance.now();
      await run();
      if (round >= 0) times[name].push(performance.now() - began);
    }
  }
  return times;
}
