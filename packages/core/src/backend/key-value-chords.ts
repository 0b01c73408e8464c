import { DecodeError } from '../errors.ts';
import type { ChordPart, ChordStore, ResultCodec } from './contract.ts';
import type { KeyLayout } from './key-layout.ts';
import type { KeyValueChords } from './key-value-store.ts';

export interface ChordsOverKeysOptions {
  /** Runs `work` on the chords of the live store. */
  readonly call: <T>(work: (chords: KeyValueChords) => Promise<T>) => Promise<T>;
  readonly joinsResults: boolean;
  readonly codec: ResultCodec;
  readonly layout: KeyLayout;
  readonly ttlSeconds: number | undefined;
}

/** Chords on a store that knows only keys and values: parts are `[1, task id, state, result]`, in the codec's text. */
export function chordsOverKeys({ call, joinsResults, codec, layout, ttlSeconds }: ChordsOverKeysOptions): ChordStore {
  return {
    joinsResults,
    begin: (groupId, size) => call((chords) => chords.begin(layout.chord(groupId), size, ttlSeconds)),
    part: async (groupId, { taskId, index, state, result }) => {
      const part = { value: codec.encode([1, taskId, state, result]), taskId, index };
      const parts = await call((chords) => chords.part(layout.chord(groupId), part, ttlSeconds));
      return parts?.map((each) => readPart(codec.decode(each)));
    },
    finish: (groupId) => call((chords) => chords.finish(layout.chord(groupId), ttlSeconds)),
    extend: (groupId, taskId) => call((chords) => chords.extend(layout.chord(groupId), taskId, ttlSeconds)),
  };
}

/** Source: celery/backends/redis.py, _unpack_chord_result. */
function readPart(part: unknown): ChordPart {
  const [, taskId, state, result] = Array.isArray(part) ? (part as unknown[]) : [];
  if (typeof taskId !== 'string' || typeof state !== 'string') {
    throw new DecodeError('A stored part of a chord is not [1, task id, state, result].');
  }
  return { taskId, index: undefined, state, result };
}
