import type { CompressionCodec } from './compression.ts';

/** What `bzip2-wasm` builds on: libbzip2 1.0.8 and its heap. It ships no types. */
interface BzipModule {
  /** Replaced when the heap grows: read it anew after each allocation. */
  readonly HEAPU8: Uint8Array;
  _malloc(bytes: number): number;
  _free(pointer: number): void;
  setValue(pointer: number, value: number, type: 'i32'): void;
  getValue(pointer: number, type: 'i32'): number;
  _BZ2_bzBuffToBuffDecompress(to: number, toSize: number, from: number, size: number, small: 0, verbosity: 0): number;
  _BZ2_bzBuffToBuffCompress(
    to: number,
    toSize: number,
    from: number,
    size: number,
    blockSize: number,
    verbosity: 0,
    workFactor: number,
  ): number;
}

interface Bzip2 {
  readonly wasmModule: BzipModule;
  init(): Promise<void>;
}

const OK = 0;
const OUTPUT_FULL = -8;
const FIRST_GUESS = 64 * 1024;
/** Python's default. */
const BLOCK_SIZE = 9;
const WORK_FACTOR = 30;
const WORD = 4;

/** libbzip2 compiled to WebAssembly. */
export async function loadBzip2(): Promise<CompressionCodec> {
  // A variable, because the package has no types to resolve.
  const name: string = 'bzip2-wasm';
  const { default: Bzip2Wasm } = (await import(name)) as { default: new () => Bzip2 };
  const bzip2 = new Bzip2Wasm();
  await withGlobalsKept(() => bzip2.init());
  const module = bzip2.wasmModule;
  return {
    compress: (body) => {
      // The bound that libbzip2 names: 1 % and 600 bytes more than the input.
      const bound = Math.ceil(body.length * 1.01) + 600;
      return call(module, body, bound, (...buffers) =>
        module._BZ2_bzBuffToBuffCompress(...buffers, BLOCK_SIZE, 0, WORK_FACTOR),
      ) as Uint8Array;
    },
    decompress: (body, maxBytes) => {
      for (
        let guess = Math.min(Math.max(FIRST_GUESS, body.length * 8), maxBytes);
        ;
        guess = Math.min(guess * 4, maxBytes)
      ) {
        const output = call(module, body, guess, (...buffers) => module._BZ2_bzBuffToBuffDecompress(...buffers, 0, 0));
        if (output !== undefined) return output;
        if (guess >= maxBytes) throw new RangeError(`The output exceeds ${maxBytes} bytes.`);
      }
    },
  };
}

/** undefined: the output does not fit. */
function call(
  module: BzipModule,
  input: Uint8Array,
  outputBytes: number,
  work: (to: number, toSize: number, from: number, size: number) => number,
): Uint8Array | undefined {
  const from = module._malloc(Math.max(1, input.length));
  const to = module._malloc(outputBytes);
  const toSize = module._malloc(WORD);
  try {
    if (from === 0 || to === 0 || toSize === 0) throw new RangeError('The memory of libbzip2 is used up.');
    module.HEAPU8.set(input, from);
    module.setValue(toSize, outputBytes, 'i32');
    const code = work(to, toSize, from, input.length);
    if (code === OUTPUT_FULL) return undefined;
    if (code !== OK) throw new RangeError(`libbzip2 gave the code ${code}.`);
    const size = module.getValue(toSize, 'i32');
    return module.HEAPU8.slice(to, to + size);
  } finally {
    module._free(toSize);
    module._free(to);
    module._free(from);
  }
}

/**
 * `init()` of bzip2-wasm 1.0.1 sets `globalThis.require` and `globalThis.__dirname`, and listens to uncaught errors of
 * the process to throw them again, which ends it whoever else listens.
 */
async function withGlobalsKept(work: () => Promise<void>): Promise<void> {
  const names = ['require', '__dirname'] as const;
  const before = names.map((name) => Object.getOwnPropertyDescriptor(globalThis, name));
  const heard = new Set(uncaughtListeners());
  try {
    await work();
  } finally {
    names.forEach((name, index) => {
      const descriptor = before[index];
      if (descriptor === undefined) delete (globalThis as Record<string, unknown>)[name];
      else Object.defineProperty(globalThis, name, descriptor);
    });
    for (const listener of uncaughtListeners()) {
      if (heard.has(listener) || !EMSCRIPTENS_OWN.test(String(listener))) continue;
      process.off('uncaughtException', listener as NodeJS.UncaughtExceptionListener);
      process.off('unhandledRejection', listener as NodeJS.UnhandledRejectionListener);
    }
  }
}

function uncaughtListeners(): readonly unknown[] {
  return [...process.listeners('uncaughtException'), ...process.listeners('unhandledRejection')];
}

/** Others may begin to listen meanwhile. */
const EMSCRIPTENS_OWN = /ExitStatus|throw reason/;
