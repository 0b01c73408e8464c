/** What Lovage asks of a logger; pino fits as it is. Fields first, an error among them under `err`, as pino has it. */
export interface Logger {
  debug(fields: LogFields, message: string): void;
  info(fields: LogFields, message: string): void;
  warn(fields: LogFields, message: string): void;
  error(fields: LogFields, message: string): void;
}

export type LogFields = Readonly<Record<string, unknown>>;

/** Says nothing: the default of library code that was given no logger. */
export const silentLogger: Logger = { debug() {}, info() {}, warn() {}, error() {} };
