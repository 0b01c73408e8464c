import { ConfigError, type Schedule, type ScheduleContext } from '@lovage/core';

/** What becomes of instants that nobody sent at their time: the last of them is sent, none, or every one. */
export type Misfire = 'runOnce' | 'skip' | 'runAll';

/** One round sends at most so many of an entry. */
const MOST_AT_ONCE = 100;
/** However many were missed, looking for them takes no longer than this many steps. */
const MOST_STEPS = 20_000;

export interface DueOptions {
  readonly misfire: Misfire;
  /** Milliseconds after which an instant counts as missed. */
  readonly missedAfterMs: number;
  /** Missed instants that are older are never sent; undefined: no limit. */
  readonly deadlineMs: number | undefined;
}

export interface Due {
  /** To be sent now, oldest first. */
  readonly instants: readonly number[];
  /** The last instant that is dealt with when these are sent. */
  readonly last: number;
  /** Instants that are passed over. */
  readonly skipped: number;
  /** The first instant after `last`; undefined: never again. It may be due already: then there is more to send. */
  readonly next: number | undefined;
}

/** The first instant after this one. Throws `ConfigError` for a schedule that goes backwards: it would be due for ever. */
export function instantAfter(schedule: Schedule, after: number, context: ScheduleContext): number | undefined {
  const next = schedule.next(after, context);
  if (next === undefined || next > after) return next;
  throw new ConfigError(
    `The schedule ${String(schedule)} gave ${new Date(next).toISOString()} as what follows ${new Date(after).toISOString()}. Expected a later instant, or undefined.`,
  );
}

/** What of an entry is due, when `last` was the last instant that was dealt with. */
export function dueInstants(
  schedule: Schedule,
  context: ScheduleContext,
  last: number,
  now: number,
  { misfire, missedAfterMs, deadlineMs }: DueOptions,
): Due {
  const oldest = Math.max(
    misfire === 'skip' ? now - missedAfterMs : Number.NEGATIVE_INFINITY,
    deadlineMs === undefined ? Number.NEGATIVE_INFINITY : now - deadlineMs,
  );
  const instants: number[] = [];
  let skipped = 0;
  let at = last;
  let next = instantAfter(schedule, at, context);
  for (let step = 0; next !== undefined && next <= now && step < MOST_STEPS; step++) {
    if (misfire === 'runAll' && instants.length >= MOST_AT_ONCE) break;
    at = next;
    if (at < oldest) skipped++;
    else if (misfire === 'runAll') instants.push(at);
    else {
      // Of those that come together the last one stands for all.
      skipped += instants.length;
      instants[0] = at;
    }
    next = instantAfter(schedule, at, context);
  }
  // There are more than one round looks at: the last of them is not found yet.
  if (misfire !== 'runAll' && next !== undefined && next <= now) skipped += instants.splice(0).length;
  return { instants, last: at, skipped, next };
}
