/** What is done with a readable message when it arrives. */
export type Verdict =
  | 'run'
  /** Its time has not come: kept here until then. */
  | 'hold'
  /** Its time has not come: published again with a delay, so that nobody holds it. */
  | 'hand-back'
  | 'expired'
  | 'revoked'
  /** No such task here. */
  | 'unknown'
  /** Delivered too often: it may be what kills workers. */
  | 'poison';

export interface Arrival {
  /** Epoch milliseconds, as all instants here. */
  readonly eta: number | undefined;
  readonly expires: number | undefined;
  readonly deliveryCount: number;
  readonly isRegistered: boolean;
  readonly isRevoked: boolean;
}

export interface VerdictRules {
  readonly now: number;
  /** 0: no limit. */
  readonly deliveryLimit: number;
  /** How many messages that wait for their time are held already, and how many may be. */
  readonly held: number;
  readonly heldLimit: number;
  /** The broker's; 0: it cannot delay. */
  readonly maxDelayMs: number;
}

/** What waits longer than this is better kept by a broker that can. */
export const FAR_ETA_MS = 300_000;

/** The table of what happens to a message. Source: celery/worker/strategy.py; the order of checks is Celery's. */
export function judge(arrival: Arrival, rules: VerdictRules): Verdict {
  const { eta, expires } = arrival;
  if (rules.deliveryLimit > 0 && arrival.deliveryCount > rules.deliveryLimit) return 'poison';
  if (!arrival.isRegistered) return 'unknown';
  if (arrival.isRevoked) return 'revoked';
  if (expires !== undefined && rules.now > expires) return 'expired';
  if (eta === undefined || eta <= rules.now) return 'run';
  if (rules.maxDelayMs > 0 && (rules.held >= rules.heldLimit || eta - rules.now > FAR_ETA_MS)) return 'hand-back';
  return 'hold';
}
