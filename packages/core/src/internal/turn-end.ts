import { outsideOfTasks } from './outside-of-tasks.ts';

const acts: (() => void)[] = [];
let isScheduled = false;

/**
 * Calls `act` at the end of this turn of the event loop, when all that came in with it has been dealt with. What is asked
 * for by one act is done right behind the others: batches that lead to batches leave in one turn.
 */
export function atTurnEnd(act: () => void): void {
  acts.push(act);
  if (isScheduled) return;
  isScheduled = true;
  outsideOfTasks(() => setImmediate(endTurn));
}

function endTurn(): void {
  let done = 0;
  try {
    while (done < acts.length) (acts[done++] as () => void)();
  } finally {
    // One that threw keeps none of the others from their turn.
    acts.splice(0, done);
    isScheduled = false;
    if (acts.length > 0) atTurnEnd(() => {});
  }
}
