import { CONTROL_COMMANDS, findCommand } from '@lovage/core';
import { checkArguments, type Given } from './arguments.ts';
import type { PanelHost } from './host.ts';
import { ORDERS } from './orders.ts';
import { PythonError } from './python-errors.ts';
import { QUESTIONS } from './questions.ts';

/** Carries out remote control commands. */
export class Panel {
  readonly #host: PanelHost;
  readonly #allowed: ReadonlySet<string> | undefined;

  constructor(host: PanelHost) {
    this.#host = host;
    const allow = host.app.settings.workerRemoteControlAllow;
    this.#allowed = allow === null ? undefined : new Set(allow.map((name) => findCommand(name) ?? name));
  }

  /** The answer. Rejects with what answers show as an error: a `KeyError` for an unknown command, as Celery does. */
  async run(method: string, given: Given): Promise<unknown> {
    const name = findCommand(method);
    const handler = name === undefined ? undefined : (QUESTIONS[name] ?? ORDERS[name]);
    if (name === undefined || handler === undefined) throw new PythonError('KeyError', method);
    this.#checkAllowed(name);
    checkArguments(name, given);
    return handler(this.#host, given);
  }

  #checkAllowed(name: string): void {
    if (this.#allowed === undefined || this.#allowed.has(name)) return;
    if (this.#allowed.has(CONTROL_COMMANDS[name]?.kind ?? '')) return;
    throw new PythonError('PermissionError', `${name} is not allowed on this worker (workerRemoteControlAllow)`);
  }
}
