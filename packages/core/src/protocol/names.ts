/** What almost every name and id looks like; the slower test is for the rest. */
const PLAIN = /^[\w.:/@-]{1,255}$/;
const NAME = /^[^\s\p{C}]{1,255}$/u;
const ID = /^[^\p{C}\p{Zl}\p{Zp}]{1,255}$/u;
const CLIMBS = /(?:^|[\\/])\.\.(?:[\\/]|$)/;

/** 1 to 255 characters without spaces and control characters. Which names exist is the registry's business. */
export function isTaskName(value: unknown): value is string {
  return typeof value === 'string' && (PLAIN.test(value) || NAME.test(value));
}

/** 1 to 255 characters, none of them a control character or a line separator, and no path that climbs. */
export function isTaskId(value: unknown): value is string {
  return (
    typeof value === 'string' && (PLAIN.test(value) || ID.test(value)) && !(value.includes('..') && CLIMBS.test(value))
  );
}
