import { emitKeypressEvents, type Key } from 'node:readline';
import type { ClusterState, Lovage } from '@lovage/core';
import { createLogUpdate } from 'log-update';
import { drawFrame, listedTasks } from './frame.ts';

export interface WatchOptions {
  readonly app: Lovage;
  readonly state: ClusterState;
  /** Between two drawings. */
  readonly intervalMs: number;
  readonly signal: AbortSignal;
}

const NOTE_MS = 4000;

/** The live view of `lovage events`, until `q`, Ctrl+C or the signal. The terminal is left as it was. */
export async function watch({ app, state, intervalMs, signal }: WatchOptions): Promise<void> {
  const { stdin, stdout } = process;
  const update = createLogUpdate(stdout, { showCursor: false });
  let chosen: string | undefined;
  let isOpen = false;
  let note = '';
  let noteUntil = 0;
  const say = (text: string): void => {
    note = text;
    noteUntil = Date.now() + NOTE_MS;
    draw();
  };
  const draw = (): void => {
    update(
      drawFrame(state, {
        columns: stdout.columns,
        // log-update redraws what fits; a full last line would scroll.
        rows: stdout.rows - 1,
        nowSeconds: Date.now() / 1000,
        chosen,
        isOpen,
        note: Date.now() < noteUntil ? note : '',
      }),
    );
  };
  const move = (by: number): void => {
    const tasks = listedTasks(state);
    const index = tasks.findIndex(({ uuid }) => uuid === chosen);
    chosen = tasks[Math.max(0, Math.min(tasks.length - 1, index + by))]?.uuid;
    draw();
  };
  const revoke = (terminate: boolean): void => {
    if (chosen === undefined) return say('Choose a task first: ↑ ↓');
    const id = chosen;
    app.revoke([id], { terminate }).then(
      () => say(`${terminate ? 'Terminated' : 'Revoked'} ${id}`),
      (error: unknown) => say(`It could not be revoked: ${error instanceof Error ? error.message : String(error)}`),
    );
  };
  let restore: () => void = () => {};
  await new Promise<void>((resolve) => {
    const onKey = (_: string | undefined, key: Key): void => {
      if (key.name === 'q' || (key.ctrl === true && key.name === 'c')) resolve();
      else if (key.name === 'up' || key.name === 'k') move(-1);
      else if (key.name === 'down' || key.name === 'j') move(1);
      else if (key.name === 'i' || key.name === 'return') {
        isOpen = !isOpen;
        draw();
      } else if (key.name === 'escape') {
        isOpen = false;
        draw();
      } else if (key.name === 'r') revoke(false);
      else if (key.name === 't') revoke(true);
    };
    const timer = setInterval(draw, intervalMs);
    emitKeypressEvents(stdin);
    stdin.setRawMode(true);
    stdin.on('keypress', onKey);
    stdin.resume();
    stdout.on('resize', draw);
    signal.addEventListener('abort', () => resolve(), { once: true });
    draw();
    restore = () => {
      clearInterval(timer);
      stdin.off('keypress', onKey);
      stdin.setRawMode(false);
      stdin.pause();
      stdout.off('resize', draw);
      update.done();
    };
  });
  restore();
}
