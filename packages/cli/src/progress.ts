import type { createLogUpdate } from 'log-update';

export interface Progress {
  readonly done: number;
  /** undefined: not known. */
  readonly total: number | undefined;
}

const BAR_WIDTH = 30;
const DRAW_MS = 100;

/** One line: a bar, counts, messages a second, and the time that is left by that speed. */
export function renderProgress({ done, total }: Progress, elapsedMs: number): string {
  const perSecond = elapsedMs > 0 ? (done * 1000) / elapsedMs : 0;
  const speed = `${Math.round(perSecond).toLocaleString('en')}/s`;
  if (total === undefined || total === 0) return `${done.toLocaleString('en')}  ${speed}`;
  const share = Math.min(1, done / total);
  const filled = Math.round(share * BAR_WIDTH);
  const bar = `${'\u2588'.repeat(filled)}${'\u2591'.repeat(BAR_WIDTH - filled)}`;
  const left = done >= total || perSecond === 0 ? '' : `  ${duration((total - done) / perSecond)} left`;
  const percent = `${Math.floor(share * 100)}`.padStart(3);
  return `${bar} ${percent} %  ${done.toLocaleString('en')} of ${total.toLocaleString('en')}  ${speed}${left}`;
}

function duration(seconds: number): string {
  const whole = Math.ceil(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  return minutes < 60 ? `${minutes} min ${whole % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** A bar on the terminal of standard error, drawn at most ten times a second; elsewhere nothing is drawn. */
export class ProgressBar {
  readonly #startedAt = performance.now();
  #drawnAt = 0;
  #draw: ReturnType<typeof createLogUpdate> | undefined;
  #last: Progress | undefined;

  /** `isShown`: on a terminal, and the person has not asked for quiet. */
  static async open(isShown: boolean): Promise<ProgressBar> {
    const bar = new ProgressBar();
    if (isShown) bar.#draw = (await import('log-update')).createLogUpdate(process.stderr, { showCursor: true });
    return bar;
  }

  update(progress: Progress): void {
    this.#last = progress;
    const now = performance.now();
    if (this.#draw === undefined || now - this.#drawnAt < DRAW_MS) return;
    this.#drawnAt = now;
    this.#draw(renderProgress(progress, now - this.#startedAt));
  }

  /** Leaves the last state on the screen. */
  close(): void {
    if (this.#draw === undefined || this.#last === undefined) return;
    this.#draw(renderProgress(this.#last, performance.now() - this.#startedAt));
    this.#draw.done();
  }
}
