import { type FSWatcher, watch } from 'node:fs';
import { readdir } from 'node:fs/promises';
import type { Logger } from '@lovage/core/transport';
import { type MessageName, parseMessageName } from './names.ts';

/** Names of messages that were taken here, whose disappearance will be reported. */
const MOST_REMEMBERED = 10_000;

export interface InboxOptions {
  readonly folder: string;
  readonly logger: Logger;
  /** Something may be there. */
  readonly onChange: () => void;
}

/**
 * What waits in the folder, as far as it is known: read now and then, and told by the system in between. Never the
 * truth: that is what a rename says.
 */
export class Inbox {
  readonly #options: InboxOptions;
  readonly #queues = new Map<string, Waiting>();
  /** Taken by us, and not yet reported as gone. */
  readonly #gone = new Set<string>();
  #watcher: FSWatcher | undefined;

  constructor(options: InboxOptions) {
    this.#options = options;
  }

  /** Begins to listen. Where the system cannot tell, reading has to do. */
  listen(): void {
    if (this.#watcher !== undefined) return;
    try {
      this.#watcher = watch(this.#options.folder, { persistent: false }, (event, name) => {
        if (event === 'rename' && name !== null) this.#changed(name);
      });
      this.#watcher.on('error', (error) => this.#isDeaf(error));
    } catch (error) {
      this.#isDeaf(error);
    }
  }

  close(): void {
    this.#watcher?.close();
  }

  /** Reads the whole folder. */
  async read(): Promise<void> {
    const before = new Set(this.#gone);
    const names = await readdir(this.#options.folder);
    // What had gone before the folder was read is not reported any more.
    for (const name of before) this.#gone.delete(name);
    const lists = new Map<string, MessageName[]>();
    for (const name of names) {
      const message = this.#gone.has(name) ? undefined : parseMessageName(name);
      if (message === undefined) continue;
      const list = lists.get(message.queue);
      if (list === undefined) lists.set(message.queue, [message]);
      else list.push(message);
    }
    this.#queues.clear();
    for (const [queue, list] of lists) this.#queues.set(queue, new Waiting(list));
  }

  /** False for what is no message, and for what is known. */
  add(name: string): boolean {
    const message = parseMessageName(name);
    if (message === undefined) return false;
    const waiting = this.#queues.get(message.queue);
    if (waiting !== undefined) return waiting.add(message);
    this.#queues.set(message.queue, new Waiting([message]));
    return true;
  }

  /** The oldest of these queues, asked in this order; they are not known here any more. */
  take(queues: readonly string[], max: number): readonly MessageName[] {
    const taken: MessageName[] = [];
    for (const queue of queues) {
      const waiting = this.#queues.get(queue);
      while (taken.length < max && waiting !== undefined) {
        const message = waiting.shift();
        if (message === undefined) break;
        taken.push(message);
        if (this.#watcher !== undefined && this.#gone.size < MOST_REMEMBERED) this.#gone.add(message.name);
      }
    }
    return taken;
  }

  /** The system says only that a name came or went; which of both is found out when it is to be taken. */
  #changed(name: string): void {
    if (!this.#gone.delete(name) && this.add(name)) this.#options.onChange();
  }

  #isDeaf(error: unknown): void {
    this.#options.logger.warn(
      { err: error, folder: this.#options.folder },
      'the system does not report changes of the folder; it is read again and again instead',
    );
  }
}

/** The messages of one queue, oldest first. */
class Waiting {
  readonly #byName: Map<string, MessageName>;
  /** Newest first. */
  #order: MessageName[] | undefined;

  constructor(messages: readonly MessageName[]) {
    this.#byName = new Map(messages.map((message) => [message.name, message]));
  }

  add(message: MessageName): boolean {
    if (this.#byName.has(message.name)) return false;
    this.#byName.set(message.name, message);
    this.#order = undefined;
    return true;
  }

  shift(): MessageName | undefined {
    this.#order ??= newestFirst([...this.#byName.values()]);
    const message = this.#order.pop();
    if (message !== undefined) this.#byName.delete(message.name);
    return message;
  }
}

/** A time that is yet to come is of an earlier run of the machine, whose clock had come further. */
function newestFirst(messages: MessageName[]): MessageName[] {
  const now = Number(process.hrtime.bigint() / 1_000_000n) + 1;
  const timeOf = ({ ms }: MessageName): number => (ms > now ? ms - Number.MAX_SAFE_INTEGER : ms);
  return messages.sort((a, b) => timeOf(b) - timeOf(a) || (a.name < b.name ? 1 : -1));
}
