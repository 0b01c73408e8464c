import { compress, decompress, init } from '@bokuweb/zstd-wasm';
import type { CompressionCodec } from './compression.ts';

const FIRST_GUESS = 1024 * 1024;
const MAGIC = 0xfd2fb528;

/** zstd for Node before 22.15, which has none of its own. */
export async function loadZstd(): Promise<CompressionCodec> {
  await init();
  return {
    compress: (body) => compress(body as Buffer),
    decompress: (body, maxBytes) => {
      const size = contentSize(body);
      if (size !== undefined) {
        // The library allocates what the frame claims before it reads on.
        if (size > maxBytes) throw new RangeError(`The frame says that it holds ${size} bytes.`);
        return decompress(body as Buffer);
      }
      for (let guess = Math.min(FIRST_GUESS, maxBytes); ; guess = Math.min(guess * 4, maxBytes)) {
        try {
          return decompress(body as Buffer, { defaultHeapSize: guess });
        } catch (error) {
          if (guess >= maxBytes) throw error;
        }
      }
    },
  };
}

/** undefined: the frame does not say. Throws for what is no zstd frame. Source: RFC 8878, 3.1.1.1. */
function contentSize(body: Uint8Array): number | undefined {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  if (view.getUint32(0, true) !== MAGIC) throw new RangeError('The body is no zstd frame.');
  const descriptor = view.getUint8(4);
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3] as number;
  const at = 5 + (isSingleSegment ? 0 : 1) + dictionaryBytes;
  switch (descriptor >> 6) {
    case 0:
      return isSingleSegment ? view.getUint8(at) : undefined;
    case 1:
      return view.getUint16(at, true) + 256;
    case 2:
      return view.getUint32(at, true);
    default:
      return Number(view.getBigUint64(at, true));
  }
}
