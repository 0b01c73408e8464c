const INT32_MAX = 0x7fff_ffff;
const INT32_MIN = -0x8000_0000;

/**
 * For amqplib, which writes each integer in the smallest type: as py-amqp writes them, `I`, and `l` beyond 32 bits.
 * Source: amqp/serialization.py, _write_item.
 */
export function writtenArguments(args: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(args).map(([name, value]) => {
      if (typeof value !== 'number' || !Number.isInteger(value)) return [name, value];
      return [name, { '!': value >= INT32_MIN && value <= INT32_MAX ? 'int32' : 'int64', value }];
    }),
  );
}
