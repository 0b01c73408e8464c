// The sun's events and Celery's own, side by side: a year at six places, from the equator to beyond the polar circle.
import { solar, type SolarEvent } from '@lovage/beat';
import { expect, test } from 'vitest';
import { PythonProgram } from './processes.ts';

const PLACES = {
  Quito: [-0.18, -78.47],
  Sydney: [-33.87, 151.21],
  Paris: [48.86, 2.35],
  Reykjavik: [64.15, -21.94],
  Tromso: [69.65, 18.96],
};
const FROM = Array.from({ length: 53 }, (_, week) => Date.UTC(2026, 0, 1, 12) + week * 7 * 86_400_000);
/** Other almanacs differ by seconds, and by more the flatter the sun's path: rising takes it half an hour in Tromso. */
const APART_MS = 30_000;

const python = process.env['LOVAGE_TEST_PYTHON'];

test.skipIf(python === undefined)("the sun's events come when Celery's do", { timeout: 600_000 }, async () => {
  const celery = new PythonProgram(python as string, 'solar_instants.py', process.env);
  const answers = (await celery.ask({ from: FROM, places: Object.values(PLACES) })) as [
    SolarEvent,
    number,
    number,
    number,
    number | null,
  ][];
  await celery.close();
  const known = answers.filter(([, , , , instant]) => instant !== null);
  expect(new Set(known.map(([event]) => event)).size).toBe(9);
  const apart = known.filter(([event, latitude, longitude, from, instant]) => {
    const ours = solar(event, latitude, longitude).next(from) ?? Number.POSITIVE_INFINITY;
    return Math.abs(ours - (instant as number)) > APART_MS;
  });
  // Around the day on which an event ceases for a season one almanac sees it once more and the other does not.
  expect(apart.length / known.length, JSON.stringify(apart)).toBeLessThan(0.01);
  const failed = answers.filter(([, , , , instant]) => instant === null);
  // Where Celery fails ours waits for the season to end.
  expect(failed.length).toBeGreaterThan(0);
  for (const [event, latitude, longitude, from] of failed)
    expect(solar(event, latitude, longitude).next(from)).toBeGreaterThan(from);
});
