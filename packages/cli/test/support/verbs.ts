import type { Ended, Running } from './command.ts';

/** What a command has to end with. Text is compared whole, an expression is looked for. */
export interface Expected {
  readonly code?: number;
  readonly out?: string | RegExp;
  readonly err?: string | RegExp;
}

/** The project in which the cases of all verbs run, with a worker that is online. */
export interface VerbContext {
  readonly folder: string;
  /** Of the worker: it runs `tasks.add`, `tasks.fail` and `tasks.slow` of `./tasks.ts`, whose app is on SQLite. */
  readonly node: string;
  /** Ids of tasks that have ended: `tasks.add` with 4, `tasks.fail` with a RangeError. */
  readonly succeeded: string;
  readonly failed: string;
  /** Another process in the project, waited for. */
  readonly run: (...args: string[]) => Promise<Ended>;
}

/**
 * One call of a verb. It runs twice, piped and on a terminal, and has to end alike, with no escape sequence in what is
 * piped; `piped` and `terminal` say what is expected besides, or `false` that it does not run so. What ends with wrong
 * usage, a wrong setting or an unreachable broker (2, 78, 69) runs on a terminal only if `terminal` is there.
 */
export interface VerbCase extends Expected {
  readonly args: readonly string[] | ((context: VerbContext) => readonly string[]);
  /** Told apart from other cases of the same arguments. */
  readonly title?: string;
  readonly piped?: Expected | false;
  readonly terminal?: Expected | boolean;
  /** Puts the project into the state that the call needs, each time. */
  readonly before?: (context: VerbContext) => void | Promise<void>;
  /** What the command ends by, where it does not by itself: keys typed or a signal sent, at the sight of a text. */
  readonly act?: (running: Running, context: VerbContext & { readonly terminal: boolean }) => Promise<void>;
  /** What is left behind, or is more than a text. */
  readonly after?: (ended: Ended, context: VerbContext & { readonly terminal: boolean }) => void | Promise<void>;
  readonly env?: Readonly<Record<string, string>>;
}

/**
 * The cases of one verb, the default export of `test/verbs/VERB.ts`; those of a verb's own verbs (`schedule list`) stand
 * in the file of the first word, each under its whole name. Every verb of the program must have a row.
 */
export type VerbRows = Readonly<Record<string, readonly VerbCase[]>>;
