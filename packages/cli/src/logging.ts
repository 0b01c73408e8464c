import type { Logger } from '@lovage/core';
import { pino } from 'pino';
import { CommandError, EXIT } from './exit-codes.ts';

export const LOG_LEVELS = ['debug', 'info', 'warning', 'error', 'critical', 'fatal'] as const;
export type LogFormat = 'line' | 'json' | 'pretty';

const PINO_LEVELS: Readonly<Record<string, string>> = {
  debug: 'debug',
  info: 'info',
  warning: 'warn',
  error: 'error',
  critical: 'fatal',
  fatal: 'fatal',
};

const NAMES: Readonly<Record<number, string>> = {
  10: 'DEBUG',
  20: 'DEBUG',
  30: 'INFO',
  40: 'WARNING',
  50: 'ERROR',
  60: 'CRITICAL',
};
const COLOURS: Readonly<Record<number, string>> = {
  20: '\u001B[2m',
  40: '\u001B[33m',
  50: '\u001B[31m',
  60: '\u001B[31;1m',
};

export interface LoggingOptions {
  /** Celery's names, any case. */
  readonly level: string;
  /** `line` is Celery's own format, `json` one object a line, `pretty` a short line for somebody who develops. */
  readonly format: LogFormat;
  readonly colour: boolean;
  readonly logfile?: string | undefined;
}

/** The logger of the command: pino, in Celery's line format for people or as JSON for machines. */
export function createLogger({ level, format, colour, logfile }: LoggingOptions): Logger {
  const options = { level: PINO_LEVELS[level.toLowerCase()] ?? 'info', base: null };
  const destination = open(logfile);
  // A closed pipe must not end the worker.
  destination.on('error', () => undefined);
  if (format === 'json') return pino({ ...options, timestamp: pino.stdTimeFunctions.isoTime }, destination);
  const show = format === 'pretty' ? prettyLine : formatLine;
  return pino(options, { write: (line: string) => destination.write(`${show(line, colour)}\n`) });
}

function open(logfile: string | undefined): ReturnType<typeof pino.destination> {
  try {
    return pino.destination({ dest: logfile ?? 2, sync: true, mkdir: true });
  } catch (cause) {
    throw new CommandError(`The log file ${logfile} cannot be written: ${(cause as Error).message}`, EXIT.failed, {
      cause,
    });
  }
}

/** For commands that are no daemons: warnings for people, on standard error; errors end the command and are told there. */
export function commandLogger({
  quiet = false,
  logFormat = 'line',
}: {
  readonly quiet?: boolean;
  readonly logFormat?: LogFormat;
}): Logger {
  return createLogger({ level: quiet ? 'critical' : 'warning', format: logFormat, colour: false });
}

interface LogLine {
  readonly level: number;
  readonly time: number;
  readonly msg?: string;
  /** An error, or whatever else was thrown. */
  readonly err?: unknown;
  /** Of a task. */
  readonly traceback?: unknown;
}

function formatLine(line: string, colour: boolean): string {
  const { level, time, msg, err, traceback, ...fields } = JSON.parse(line) as LogLine;
  const stamp = new Date(time).toISOString().replace('T', ' ').replace('.', ',').replace('Z', '');
  const head = `[${stamp}: ${NAMES[level] ?? level}/MainProcess]`;
  const details = showFields(fields);
  const text = `${head} ${escapeControls(msg ?? '')}${details === '' ? '' : ` (${details})`}`;
  const shown = colour && COLOURS[level] !== undefined ? `${COLOURS[level]}${text}\u001B[0m` : text;
  return `${shown}${showError(err)}${showTraceback(traceback)}`;
}

/** `20:15:27.123 INFO  message  key=value`: the level coloured, what is beside the message dimmed. */
function prettyLine(line: string, colour: boolean): string {
  const { level, time, msg, err, traceback, ...fields } = JSON.parse(line) as LogLine;
  const paint = (code: string, text: string): string => (colour && text !== '' ? `${code}${text}\u001B[0m` : text);
  const at = new Date(time);
  const stamp = [at.getHours(), at.getMinutes(), at.getSeconds()]
    .map((part) => String(part).padStart(2, '0'))
    .join(':');
  const name = (NAMES[level] ?? String(level)).padEnd(7);
  // What the message says is not said again.
  const rest = Object.entries(fields).filter(([, value]) => !(msg ?? '').includes(showValue(value)));
  const details = showFields(Object.fromEntries(rest));
  return (
    [
      paint(DIM, `${stamp}.${String(at.getMilliseconds()).padStart(3, '0')}`),
      paint(COLOURS[level] ?? GREEN, name),
      escapeControls(msg ?? ''),
      ...(details === '' ? [] : [paint(DIM, details)]),
    ].join(' ') +
    showError(err) +
    showTraceback(traceback)
  );
}

const DIM = '\u001B[2m';
const GREEN = '\u001B[32m';

function showFields(fields: object): string {
  return escapeControls(
    Object.entries(fields)
      .map(([key, value]) => `${key}=${showValue(value)}`)
      .join(' '),
  );
}

function showError(err: unknown): string {
  if (err === undefined) return '';
  const { stack, message } = (err ?? {}) as { stack?: string; message?: string };
  return `\n${escapeControls(stack ?? message ?? showValue(err), CONTROLS_BUT_NEWLINES)}`;
}

function showTraceback(traceback: unknown): string {
  return typeof traceback === 'string' ? `\n${escapeControls(traceback.trimEnd(), CONTROLS_BUT_NEWLINES)}` : '';
}

function showValue(value: unknown): string {
  if (typeof value === 'object' && value !== null) return JSON.stringify(value);
  return typeof value === 'string' && /[\s"=]/.test(value) ? JSON.stringify(value) : String(value);
}

// The last ranges turn the direction of what follows, which makes a line read as another.
// oxlint-disable-next-line no-control-regex
const CONTROLS = /[\u0000-\u001F\u007F-\u009F\u2028\u2029\u202A-\u202E\u2066-\u2069]/g;
// oxlint-disable-next-line no-control-regex
const CONTROLS_BUT_NEWLINES = /[\u0000-\u0008\u000B-\u001F\u007F-\u009F\u2028\u2029\u202A-\u202E\u2066-\u2069]/g;

/** Names and ids come from outside: a line of the log stays one line and moves no cursor. */
function escapeControls(text: string, controls: RegExp = CONTROLS): string {
  return text.replace(controls, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
