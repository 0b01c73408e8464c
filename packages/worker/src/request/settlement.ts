import type { Outcome } from '@lovage/core/transport';

/** How an attempt ended, as far as the broker is concerned. */
export type Ending =
  | 'success'
  | 'failure'
  /** The hard time limit. */
  | 'timeout'
  /** The next attempt is in the broker already. */
  | 'retry'
  | 'ignore'
  /** `Reject` without requeue. */
  | 'reject'
  /** `Reject` with requeue. */
  | 'reject-requeue'
  /** What ran the task died. */
  | 'worker-lost'
  /** Expired, or revoked before it started or with terminate. */
  | 'revoked'
  /** Moved to the dead letter place, or published again for later: a copy is in the broker. */
  | 'moved'
  /** This worker stops, or could not publish what the task leads to: somebody else may have it. */
  | 'returned'
  /** The task ended and its result could not be stored in time. */
  | 'unstored'
  /** The lease is lost: the message is no longer ours to settle. */
  | 'fenced';

export interface SettlementFlags {
  /** Acknowledged when it was accepted (`acksLate: false`). */
  readonly settled: boolean;
  readonly acksOnFailure: boolean;
  readonly acksOnTimeout: boolean;
  readonly rejectOnWorkerLost: boolean;
}

/**
 * What the broker is told; undefined: nothing. The one place that decides it.
 * Source: celery/worker/request.py, on_success, on_failure, on_timeout, on_retry.
 */
export function decideSettlement(ending: Ending, flags: SettlementFlags): Outcome | undefined {
  if (flags.settled || ending === 'fenced') return undefined;
  switch (ending) {
    case 'success':
    case 'retry':
    case 'ignore':
    case 'revoked':
    case 'moved':
      return 'ack';
    case 'failure':
      return flags.acksOnFailure ? 'ack' : 'reject';
    case 'timeout':
      return flags.acksOnTimeout ? 'ack' : 'requeue';
    case 'worker-lost':
      if (flags.rejectOnWorkerLost) return 'requeue';
      return flags.acksOnFailure ? 'ack' : 'reject';
    case 'reject':
      return 'reject';
    case 'reject-requeue':
    case 'returned':
    case 'unstored':
      return 'requeue';
  }
}
