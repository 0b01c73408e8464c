import { ConfigError } from '../errors.ts';

/** Offsets change at quarters of an hour in UTC, in every zone since 1972; so long an answer is good. */
const QUARTER_MS = 900_000;
const DAY_MS = 86_400_000;
const MOST_KEPT = 20_000;

/**
 * A time zone: wall clock times to instants and back. Wall clock times are numbers here, the epoch milliseconds that the
 * same reading would be in UTC, so that they can be compared and taken apart with `Date`'s UTC methods.
 */
export class Zone {
  /** IANA name. */
  readonly name: string;
  readonly #format: Intl.DateTimeFormat | undefined;
  readonly #offsets = new Map<number, number>();

  /** Throws `ConfigError` for a name that is no zone. */
  private constructor(name: string) {
    try {
      const format = new Intl.DateTimeFormat('en-US', {
        timeZone: name,
        hourCycle: 'h23',
        era: 'short',
        year: 'numeric',
        month: 'numeric',
        day: 'numeric',
        hour: 'numeric',
        minute: 'numeric',
        second: 'numeric',
      });
      this.name = format.resolvedOptions().timeZone;
      this.#format = this.name === 'UTC' ? undefined : format;
    } catch (cause) {
      throw new ConfigError(
        `The time zone ${JSON.stringify(name)} is not known here. Expected an IANA name such as "Europe/Paris" or "UTC".`,
        { cause },
      );
    }
  }

  /** The zone of this name, made once. */
  static of(name: string): Zone {
    let zone = zones.get(name);
    if (zone === undefined) zones.set(name, (zone = new Zone(name)));
    return zone;
  }

  /** The zone of this machine. */
  static local(): Zone {
    return Zone.of(new Intl.DateTimeFormat().resolvedOptions().timeZone);
  }

  /** Milliseconds that the wall clock is ahead of UTC at this instant. */
  offset(instant: number): number {
    if (this.#format === undefined) return 0;
    const quarter = Math.floor(instant / QUARTER_MS);
    let offset = this.#offsets.get(quarter);
    if (offset === undefined) {
      if (this.#offsets.size >= MOST_KEPT) this.#offsets.clear();
      const at = quarter * QUARTER_MS;
      offset = reading(this.#format, at) - at;
      this.#offsets.set(quarter, offset);
    }
    return offset;
  }

  toWall(instant: number): number {
    return instant + this.offset(instant);
  }

  /**
   * The instant of a wall clock time. One that occurs twice is the first of them; one that does not exist is moved by as
   * much as the clock was (02:30 in a gap from 02:00 to 03:00 is 03:30). Source: Python's zoneinfo with fold=0, as Celery
   * has it.
   */
  toInstant(wall: number): number {
    const before = wall - this.offset(wall - DAY_MS);
    const after = wall - this.offset(wall + DAY_MS);
    const first = Math.min(before, after);
    if (this.toWall(first) === wall) return first;
    const second = Math.max(before, after);
    return this.toWall(second) === wall ? second : before;
  }

  /** Whether the clock never shows this time. */
  skips(wall: number): boolean {
    return this.toWall(this.toInstant(wall)) !== wall;
  }
}

const zones = new Map<string, Zone>();

function reading(format: Intl.DateTimeFormat, instant: number): number {
  const parts: Record<string, string> = {};
  for (const { type, value } of format.formatToParts(instant)) parts[type] = value;
  const year = parts['era'] === 'BC' ? 1 - Number(parts['year']) : Number(parts['year']);
  const [month, day, hour, minute, second] = ['month', 'day', 'hour', 'minute', 'second'].map((key) =>
    Number(parts[key]),
  ) as [number, number, number, number, number];
  return Date.UTC(year, month - 1, day, hour, minute, second);
}
