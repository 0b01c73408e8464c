import { loadavg } from 'node:os';
import type { EventSender, SoftwareInfo } from '@lovage/core/protocol';

export interface HeartFacts {
  /** Tasks that run. */
  readonly active: number;
  /** Tasks started since the start. */
  readonly processed: number;
}

/** Celery's forced heartbeat says so. Source: celery/worker/control.py, heartbeat. */
const FORCED_FREQ = 5;

/** Tells monitors that the worker is alive. Source: celery/worker/heartbeat.py. */
export class Heart {
  readonly #sender: EventSender;
  readonly #intervalSeconds: number;
  readonly #facts: () => HeartFacts;
  readonly #software: SoftwareInfo;
  readonly #onBeat: () => void;
  #timer: NodeJS.Timeout | undefined;

  constructor(
    sender: EventSender,
    intervalSeconds: number,
    facts: () => HeartFacts,
    software: SoftwareInfo,
    onBeat: () => void,
  ) {
    this.#sender = sender;
    this.#intervalSeconds = intervalSeconds;
    this.#facts = facts;
    this.#software = software;
    this.#onBeat = onBeat;
  }

  /** `worker-online`, then one `worker-heartbeat` each interval. Once more after a reconnection is fine. */
  start(): void {
    this.#beat('worker-online');
    this.#timer ??= setInterval(() => this.#beat('worker-heartbeat'), this.#intervalSeconds * 1000).unref();
  }

  stop(): void {
    if (this.#timer === undefined) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#beat('worker-offline');
  }

  /** Out of turn, because somebody asked. */
  force(): void {
    this.#sender.send('worker-heartbeat', { freq: FORCED_FREQ, ...this.#software });
  }

  #beat(type: string): void {
    this.#onBeat();
    this.#sender.send(type, {
      freq: this.#intervalSeconds,
      ...this.#facts(),
      loadavg: loadavg().map((load) => Math.round(load * 100) / 100),
      ...this.#software,
    });
  }
}
