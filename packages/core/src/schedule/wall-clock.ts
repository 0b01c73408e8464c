import type { Zone } from './zone.ts';

/** The longest that a clock was ever put forward (Samoa, 2011) is a day; seen from a bit more. */
const GAP_SEARCH_MS = 26 * 3_600_000;
const MINUTE_MS = 60_000;

/**
 * The first instant after this one at which a wall clock shows one of the times that `timeAfter` gives: the first of them
 * after another, rising, in {@link Zone}'s numbers; undefined: no more. For schedules of your own that go by the wall clock.
 *
 * When clocks change, as Celery's crontab: a time that occurs twice counts once, the first time; one that is skipped counts
 * at as much later as the clock was put forward (02:30 at 03:30), unless that time is due by itself.
 */
export function nextOnWallClock(
  after: number,
  zone: Zone,
  timeAfter: (wall: number) => number | undefined,
): number | undefined {
  const wall = zone.toWall(after);
  let found = timeAfter(wall);
  // A time that occurs twice: its second occurrence is no instant of ours.
  while (found !== undefined && zone.toInstant(found) <= after) found = timeAfter(found);
  if (found === undefined) return undefined;
  let best = zone.toInstant(found);
  const consider = (from: number, to: number): void => {
    for (let time = timeAfter(from); time !== undefined && time <= to; time = timeAfter(time)) {
      const instant = zone.toInstant(time);
      if (instant > after && instant < best) best = instant;
    }
  };
  // One in a gap is moved past others that follow it on the wall.
  if (zone.skips(found)) consider(found, zone.toWall(best));
  // And one in a gap that has just gone by may be still to come.
  const gap = zone.offset(after) - zone.offset(after - GAP_SEARCH_MS);
  if (gap > 0) consider(wall - gap - MINUTE_MS, wall);
  return best;
}
