// What each direction of the matrix proves, as data: one row of the table in docs/interop.md each.

/** A value as the Python client writes it: JSON, or `{ $: kind, v: text }` for what JSON has not. */
export type Wrapped = unknown;

export interface EchoCase {
  readonly name: string;
  readonly args: readonly Wrapped[];
  readonly kwargs?: Readonly<Record<string, Wrapped>>;
  readonly options?: Readonly<Record<string, unknown>>;
  /** Celery 5.2 (Kombu 5.2) cannot do it. */
  readonly since?: '5.3';
  /** More than 64 KiB. */
  readonly isLarge?: true;
}

const tagged = (kind: string, value: string): Wrapped => ({ $: kind, v: value });

export const ECHO_CASES: readonly EchoCase[] = [
  { name: 'args', args: [1, 'two', [3, null], { four: true }] },
  { name: 'kwargs', args: [], kwargs: { x: 1, y: 'zwei', z: [3] } },
  { name: 'args and kwargs', args: [1], kwargs: { y: 2 } },
  { name: 'unicode', args: ['žluťoučký kůň 🐎', 'a\u2028b\n'] },
  { name: 'numbers', args: [1.5, -0.25, 2147483648, 9007199254740991] },
  { name: 'integers beyond 2^53', args: [tagged('int', '123456789012345678901234567890')] },
  { name: 'NaN', args: [tagged('float', 'nan')] },
  { name: 'datetime', args: [tagged('datetime', '2026-11-23T10:20:30.123000+00:00')], since: '5.3' },
  { name: 'decimal', args: [tagged('decimal', '1.10')], since: '5.3' },
  { name: 'uuid', args: [tagged('uuid', '0b0f7d4e-4b69-4f0e-9a77-0f6e0b4d1c11')], since: '5.3' },
  { name: 'bytes', args: [tagged('bytes', Buffer.from([0, 255, 128]).toString('base64'))], since: '5.3' },
  { name: 'serializer yaml', args: [1, { a: ['b', null, true] }], options: { serializer: 'yaml' } },
  { name: 'serializer msgpack', args: [1, { a: ['b', null, true] }], options: { serializer: 'msgpack' } },
  { name: 'compression zlib', args: ['z'.repeat(3000)], options: { compression: 'zlib' } },
  { name: 'compression gzip', args: ['g'.repeat(3000)], options: { compression: 'gzip' } },
  { name: 'compression bzip2', args: ['b'.repeat(3000)], options: { compression: 'bzip2' } },
  { name: 'compression brotli', args: ['r'.repeat(3000)], options: { compression: 'brotli' }, since: '5.3' },
  { name: 'compression zstd', args: ['s'.repeat(3000)], options: { compression: 'zstd' }, since: '5.3' },
  { name: 'msgpack with zlib', args: [{ deep: [[['x']]] }], options: { serializer: 'msgpack', compression: 'zlib' } },
  { name: 'a body of 100 KB', args: ['k'.repeat(100_000)], isLarge: true },
  { name: 'priority', args: [9], options: { priority: 9 } },
];
