// The work of 10 ms. As a program: `calibrate` says how many iterations that is, `run` how many a second go.
import { pbkdf2Sync } from 'node:crypto';
import { openSync, writeSync } from 'node:fs';

const ITERATIONS = Number(process.env.ITERATIONS ?? 1);
export const compute = (iterations = ITERATIONS) => pbkdf2Sync('password', 'salt', iterations, 32, 'sha256');

let runs;
/** One byte for each task, in a file that all processes append to. */
export const count = () => void writeSync((runs ??= openSync(process.env.RUNS, 'a')), '.');

if (process.argv[1] === import.meta.filename) {
  if (process.argv[2] === 'calibrate') {
    const probe = 20_000;
    const times = Array.from({ length: 20 }, () => {
      const began = performance.now();
      compute(probe);
      return performance.now() - began;
    });
    console.log(JSON.stringify({ iterations: Math.round((probe * 10) / Math.min(...times)) }));
  } else {
    const began = performance.now();
    let done = 0;
    for (; performance.now() - began < 3000; done++) compute();
    console.log(JSON.stringify({ perSecond: (done / (performance.now() - began)) * 1000 }));
  }
}
