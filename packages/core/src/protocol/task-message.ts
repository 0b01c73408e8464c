import type { SignatureDict } from '../canvas/signature-dict.ts';
import type { MessageHeaders } from '../transport/message.ts';

/**
 * A task message as the library sees it, whichever protocol it came by. Names are camelCase; `v1.ts` and `v2.ts` are
 * the only places that know the wire's. Source: Celery message protocol 2, "headers"; celery/app/amqp.py.
 */
export interface TaskRequest {
  readonly id: string;
  readonly task: string;
  readonly shadow: string | undefined;
  /** Epoch milliseconds. */
  readonly eta: number | undefined;
  /** Epoch milliseconds. */
  readonly expires: number | undefined;
  readonly group: string | undefined;
  readonly groupIndex: number | undefined;
  readonly retries: number;
  /** Seconds: `[hard, soft]`. */
  readonly timeLimit: readonly [number | undefined, number | undefined];
  readonly rootId: string;
  readonly parentId: string | undefined;
  readonly argsrepr: string;
  readonly kwargsrepr: string;
  readonly origin: string | undefined;
  /** undefined: the task's own setting decides. */
  readonly ignoreResult: boolean | undefined;
  readonly replacedTaskNesting: number;
  readonly stampedHeaders: readonly string[] | undefined;
  readonly stamps: Readonly<Record<string, unknown>>;
  readonly replyTo: string | undefined;
  readonly correlationId: string | undefined;
  readonly priority: number | undefined;
  /** Headers that the protocol does not know: the caller's own. */
  readonly headers: MessageHeaders;
}

/** The body of a task message: protocol 2's `[args, kwargs, embed]`. */
export interface TaskBody {
  readonly args: readonly unknown[];
  readonly kwargs: Readonly<Record<string, unknown>>;
  readonly callbacks: readonly SignatureDict[];
  readonly errbacks: readonly SignatureDict[];
  /** What follows in a chain, **in reverse order**: the next one is the last element. */
  readonly chain: readonly SignatureDict[];
  /** The body of the chord this task is a part of. */
  readonly chord: SignatureDict | undefined;
}
