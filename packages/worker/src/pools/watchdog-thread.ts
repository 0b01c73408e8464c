// The thread of `Watchdog`.
import { writeSync } from 'node:fs';
import { Session } from 'node:inspector';
import { parentPort, workerData, type MessagePort } from 'node:worker_threads';
import type { Blockage, WatchdogData } from './watchdog.ts';

const port = parentPort as MessagePort;
const { beats, thresholdMs, pid } = workerData as WatchdogData;
const AGAIN_MS = 60_000;
/** A main thread inside of one native call cannot be asked. */
const ANSWER_MS = 2000;

let seen = -1;
let seenAt = performance.now();
let toldAt = Number.NEGATIVE_INFINITY;
let blockage: Omit<Blockage, 'blockedMs'> | undefined;
let isAsking = false;

setInterval(() => void look(), thresholdMs / 4);

async function look(): Promise<void> {
  const beat = Atomics.load(beats, 0);
  const now = performance.now();
  if (beat !== seen) {
    if (blockage !== undefined) {
      const told: Blockage = { ...blockage, blockedMs: Math.round(now - seenAt) };
      port.postMessage(told);
    }
    seen = beat;
    seenAt = now;
    blockage = undefined;
    return;
  }
  if (Atomics.load(beats, 1) === 1) return;
  if (now - seenAt < thresholdMs || isAsking || (blockage !== undefined && now - toldAt < AGAIN_MS)) return;
  isAsking = true;
  const found = await whoseCode();
  isAsking = false;
  if (Atomics.load(beats, 0) !== beat && found.task === undefined) return;
  blockage = found;
  toldAt = now;
  const who = found.task === undefined ? 'code outside of any task' : `task ${found.task}[${found.taskId}]`;
  const seconds = ((performance.now() - seenAt) / 1000).toFixed(1);
  try {
    writeSync(
      2,
      `lovage: the event loop of process ${pid} stands still since ${seconds}s in ${who} (${found.stack[0] ?? 'native code'})\n`,
    );
  } catch {
    // A closed stderr is nobody's problem here.
  }
}

/** Runs in the main thread, in the asynchronous context of the code that is paused. */
const WHO = `(() => {
  const context = globalThis[Symbol.for('@lovage/current-task')]?.getStore();
  return context === undefined ? '' : JSON.stringify([context.request.task, context.request.id]);
})()`;

interface CallFrame {
  readonly callFrameId: string;
  readonly functionName: string;
  readonly location: { readonly scriptId: string; readonly lineNumber: number };
}

/** Pauses the main thread for a moment to see where it is. */
function whoseCode(): Promise<Omit<Blockage, 'blockedMs'>> {
  const session = new Session();
  return new Promise((resolve) => {
    const end = (found: Omit<Blockage, 'blockedMs'>): void => {
      clearTimeout(late);
      session.post('Debugger.resume', () => {});
      session.post('Debugger.disable', () => session.disconnect());
      resolve(found);
    };
    const nothing = { task: undefined, taskId: undefined, stack: [] };
    const late = setTimeout(() => end(nothing), ANSWER_MS);
    const urls = new Map<string, string>();
    session.on('Debugger.scriptParsed', ({ params }) => void urls.set(params.scriptId, params.url));
    session.connectToMainThread();
    session.once('Debugger.paused', ({ params }) => {
      const frames = (params as unknown as { callFrames: readonly CallFrame[] }).callFrames;
      const stack = frames.slice(0, 5).map(({ functionName, location: { scriptId, lineNumber } }) => {
        return `${functionName || '<anonymous>'} ${urls.get(scriptId) ?? ''}:${lineNumber + 1}`;
      });
      const [first] = frames;
      if (first === undefined) return end({ ...nothing, stack });
      const asked = { callFrameId: first.callFrameId, expression: WHO, returnByValue: true, silent: true };
      session.post('Debugger.evaluateOnCallFrame', asked, (_, answer) => {
        const text: unknown = (answer as { result?: { value?: unknown } } | undefined)?.result?.value;
        if (typeof text !== 'string' || text === '') return end({ ...nothing, stack });
        const [task, taskId] = JSON.parse(text) as [string, string];
        end({ task, taskId, stack });
      });
    });
    session.post('Debugger.enable', () => {});
    session.post('Debugger.pause', () => {});
  });
}
