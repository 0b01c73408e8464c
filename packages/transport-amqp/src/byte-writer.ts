import { EncodeError } from '@lovage/core/transport';

const INITIAL_BYTES = 16 * 1024;
const SHORT_STRING_MAX_BYTES = 255;
/** Below this length a loop over char codes beats the call into the native encoder. */
const LOOP_MAX_CHARS = 40;

/** Grows as it is written to; numbers are big endian, as AMQP has them. */
export class ByteWriter {
  bytes: Buffer = Buffer.allocUnsafeSlow(INITIAL_BYTES);
  length = 0;

  /** What was written so far; the writer starts over with memory of its own. */
  take(): Buffer {
    const taken = this.bytes.subarray(0, this.length);
    // The socket may hold what was taken for a while, so it is never written to again.
    this.bytes = Buffer.allocUnsafeSlow(Math.max(INITIAL_BYTES, Math.min(this.length, 128 * 1024)));
    this.length = 0;
    return taken;
  }

  reserve(count: number): number {
    const at = this.length;
    const needed = at + count;
    if (needed > this.bytes.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.bytes.length * 2));
      this.bytes.copy(grown, 0, 0, at);
      this.bytes = grown;
    }
    this.length = needed;
    return at;
  }

  u8(value: number): void {
    const at = this.reserve(1);
    this.bytes[at] = value;
  }

  u16(value: number): void {
    const at = this.reserve(2);
    this.bytes[at] = value >>> 8;
    this.bytes[at + 1] = value;
  }

  u32(value: number): void {
    this.patchU32(this.reserve(4), value);
  }

  patchU32(at: number, value: number): void {
    const { bytes } = this;
    bytes[at] = value >>> 24;
    bytes[at + 1] = value >>> 16;
    bytes[at + 2] = value >>> 8;
    bytes[at + 3] = value;
  }

  u64(value: number): void {
    this.u32(Math.floor(value / 0x1_0000_0000));
    this.u32(value >>> 0);
  }

  f64(value: number): void {
    const at = this.reserve(8);
    this.bytes.writeDoubleBE(value, at);
  }

  i64(value: bigint): void {
    const at = this.reserve(8);
    this.bytes.writeBigInt64BE(value, at);
  }

  raw(bytes: Uint8Array): void {
    const at = this.reserve(bytes.length);
    this.bytes.set(bytes, at);
  }

  /** UTF-8 without a length; returns how many bytes. */
  text(value: string): number {
    const count = value.length;
    if (count <= LOOP_MAX_CHARS) {
      const at = this.reserve(count);
      const { bytes } = this;
      let index = 0;
      for (; index < count; index++) {
        const code = value.charCodeAt(index);
        if (code > 127) break;
        bytes[at + index] = code;
      }
      if (index === count) return count;
      this.length = at;
    }
    const at = this.reserve(count * 3);
    const written = this.bytes.write(value, at, 'utf8');
    this.length = at + written;
    return written;
  }

  /** Throws `EncodeError` beyond 255 bytes of UTF-8. */
  shortString(value: string, what: string): void {
    const at = this.reserve(1);
    const written = this.text(value);
    if (written > SHORT_STRING_MAX_BYTES) {
      throw new EncodeError(
        `The ${what} ${JSON.stringify(`${value.slice(0, 40)}...`)} has ${written} bytes. AMQP takes at most ${SHORT_STRING_MAX_BYTES}.`,
      );
    }
    this.bytes[at] = written;
  }

  longString(value: string): void {
    const at = this.reserve(4);
    this.patchU32(at, this.text(value));
  }
}
