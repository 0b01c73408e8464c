import { randomBytes } from 'node:crypto';
import { ConfigError } from '@lovage/core/transport';

const END = '.msg';
/** Of one name in common file systems. */
const MOST_BYTES = 255;
/** `<milliseconds>_<uuid>~<deliveries before>.` and what a delayed message has before it. */
const OWN_BYTES = 90;

/** What the name of a message's file says. */
export interface MessageName {
  readonly name: string;
  readonly queue: string;
  /** Milliseconds of the monotonic clock of the machine that wrote it. */
  readonly ms: number;
  /** How often it was given back: 0 at first. */
  readonly returns: number;
}

/** Text that can be part of a file's name. Throws `ConfigError`. */
export function checkName(text: string, kind: 'queue' | 'exchange'): void {
  if (text === '' || /[/\0\\]/.test(text) || Buffer.byteLength(text) > MOST_BYTES - OWN_BYTES) {
    throw new ConfigError(
      `The ${kind} ${JSON.stringify(text)} cannot be part of a file's name. Expected 1 to ${MOST_BYTES - OWN_BYTES} bytes without "/" and "\\".`,
      { facts: { [kind]: text } },
    );
  }
}

let lastNs = 0n;

/**
 * The name of a new message: `<milliseconds>_<uuid>.<queue>.msg`, the milliseconds of the monotonic clock that Python
 * reads too. Kombu's order is that of the text, and its uuid is random; ours begins with the rest of the time, so that
 * messages of one millisecond stay in order. Source: kombu/transport/filesystem.py, Channel._put.
 */
export function newMessageName(queue: string, delayMs: number): string {
  const now = process.hrtime.bigint() + BigInt(Math.round(delayMs * 1e6));
  // Two of one call may meet the same instant.
  const ns = delayMs > 0 ? now : now > lastNs ? now : lastNs + 1n;
  if (delayMs === 0) lastNs = ns;
  const rest = (ns % 1_000_000n).toString(16).padStart(8, '0');
  const random = randomBytes(10).toString('hex');
  const uuid = `${rest}-${random.slice(0, 4)}-8${random.slice(4, 7)}-a${random.slice(7, 10)}-${random.slice(8, 20)}`;
  return `${ns / 1_000_000n}_${uuid}.${queue}${END}`;
}

/**
 * undefined: no message. The queue is what follows the first dot: unlike Kombu's, a worker of `b` takes nothing of
 * `a.b`.
 */
export function parseMessageName(name: string): MessageName | undefined {
  if (!name.endsWith(END)) return undefined;
  const dot = name.indexOf('.');
  const queue = name.slice(dot + 1, -END.length);
  if (dot >= name.length - END.length || queue === '') return undefined;
  const ms = Number.parseInt(name, 10);
  const returns = /~(\d+)$/.exec(name.slice(0, dot))?.[1];
  return { name, queue, ms: Number.isNaN(ms) ? 0 : ms, returns: returns === undefined ? 0 : Number(returns) };
}

/** The name of the same message once it was given back: its place in the order stays. */
export function returnedName({ name, returns }: MessageName): string {
  const dot = name.indexOf('.');
  return `${name.slice(0, dot).replace(/~\d+$/, '')}~${returns + 1}${name.slice(dot)}`;
}

/** A message that is not due yet: when it is, then its name. */
export function delayedName(name: string, dueAt: number): string {
  return `${Math.ceil(dueAt)}_${name}`;
}

export function parseDelayedName(text: string): { readonly dueAt: number; readonly message: MessageName } | undefined {
  const match = /^(\d+)_(.+)$/.exec(text);
  const message = parseMessageName(match?.[2] ?? '');
  return message === undefined ? undefined : { dueAt: Number(match?.[1]), message };
}
