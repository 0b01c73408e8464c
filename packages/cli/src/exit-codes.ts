/** How `lovage` ends, for scripts. Celery's numbers where it has them (sysexits.h). */
export const EXIT = {
  ok: 0,
  /** The command, or the task it waited for, failed. */
  failed: 1,
  /** Wrong options or arguments. */
  usage: 2,
  /** The broker or the result store cannot be reached. */
  unavailable: 69,
  /** The app cannot be loaded, or a setting is wrong. */
  config: 78,
} as const;

/** Ends the command with a message for people and a code for scripts. */
export class CommandError extends Error {
  readonly exitCode: number;
  constructor(message: string, exitCode: number, options?: ErrorOptions) {
    super(message, options);
    this.exitCode = exitCode;
  }
}
