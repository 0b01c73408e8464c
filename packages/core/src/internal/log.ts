/** The six methods that Lovage asks of a logger; pino, winston and console fit. Fields first, as pino has it. */
export interface Logger {
  debug(fields: LogFields, message: string): void;
  info(fields: LogFields, message: string): void;
  warn(fields: LogFields, message: string): void;
  error(fields: LogFields, message: string): void;
}

export type LogFields = Readonly<Record<string, unknown>>;

/** Says nothing: the default of library code that was given no logger. */
export const silentLogger: Logger = { debug() {}, info() {}, warn() {}, error() {} };
