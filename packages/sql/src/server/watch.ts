import type { SqlLink } from './link.ts';

export interface LivenessLimits {
  /** An idle link is asked so often. */
  readonly idleMs: number;
  /** After so long without an answer the server is asked over another link what it is doing. */
  readonly silentMs: number;
  /** How long that other link may take. */
  readonly probeMs: number;
}

/** Together they stay below two heartbeats. */
export function livenessLimits(heartbeatSeconds: number): LivenessLimits {
  const heartbeatMs = heartbeatSeconds * 1000;
  return {
    idleMs: Math.min(4000, heartbeatMs * 0.4),
    silentMs: Math.min(5000, heartbeatMs * 0.5),
    probeMs: Math.min(3000, heartbeatMs * 0.6),
  };
}

/** Looks per limit. */
const LOOKS = 4;

/**
 * Tells a dead link from a slow statement. It counts its own looks, not the time between them: an event loop that a task
 * has blocked for minutes finds the answers waiting, and must not take its own silence for the server's.
 */
export class LinkWatch {
  readonly #timer: NodeJS.Timeout;
  readonly #states: { readonly link: SqlLink; answers: number; looks: number; isProbed: boolean }[];

  constructor(
    links: readonly SqlLink[],
    limits: LivenessLimits,
    isBusy: (link: SqlLink) => Promise<boolean>,
    onSilence: (waitedMs: number) => void,
  ) {
    const intervalMs = Math.max(10, Math.min(limits.idleMs, limits.silentMs) / LOOKS);
    const idleLooks = Math.ceil(limits.idleMs / intervalMs);
    const silentLooks = Math.ceil(limits.silentMs / intervalMs);
    this.#states = links.map((link) => ({ link, answers: link.answers, looks: 0, isProbed: false }));
    this.#timer = setInterval(() => {
      for (const state of this.#states) {
        const { link } = state;
        if (state.answers !== link.answers) {
          state.answers = link.answers;
          state.looks = 0;
          continue;
        }
        state.looks++;
        if (state.isProbed) continue;
        if (!link.isWaiting) {
          if (state.looks < idleLooks) continue;
          state.looks = 0;
          link.do((session) => session.ping()).catch(() => {});
        } else if (state.looks > silentLooks) {
          state.isProbed = true;
          void isBusy(link)
            .catch(() => false)
            .then((busy) => {
              state.isProbed = false;
              state.looks = 0;
              if (!busy && link.isWaiting && state.answers === link.answers) onSilence(limits.silentMs);
            });
        }
      }
    }, intervalMs);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
