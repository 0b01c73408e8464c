import { describe, expect, test } from 'vitest';
import { codeOf } from '../../test/support/code-of.ts';
import type { Message } from '../transport/message.ts';
import { SerializerRegistry } from './registry.ts';

function message(contentType: string, body: Uint8Array | string, headers: Message['headers'] = {}): Message {
  return { body: Buffer.from(body as string), contentType, contentEncoding: 'utf-8', headers, properties: {} };
}

const BODIES: Readonly<Record<string, string>> = {
  'application/json': '[1]',
  'application/x-yaml': '- 1\n',
  'application/x-msgpack': '\x91\x01',
  'application/x-python-serialize': '\x80\x04]\x94K\x01a.',
  'text/plain': '[1]',
  'application/data': '[1]',
  '': '[1]',
  'application/json; charset=utf-8': '[1]',
};

describe('the accept list', () => {
  const lists = [
    ['json'],
    ['yaml'],
    ['msgpack'],
    ['json', 'yaml', 'msgpack'],
    ['pickle'],
    ['application/json', 'pickle'],
  ];

  test.each(Object.keys(BODIES))('%j is read only where it is named, and pickle nowhere', async (contentType) => {
    for (const accept of lists) {
      const registry = new SerializerRegistry({ accept });
      await registry.loadAccepted();
      const isNamed = registry.accepted.has(contentType) && contentType !== 'application/x-python-serialize';
      const read = codeOf(() =>
        registry.decode({ ...message(contentType, ''), body: Buffer.from(BODIES[contentType] as string, 'latin1') }),
      );
      expect(read).toBe(isNamed ? 'nothing was thrown' : 'ERR_CONTENT_DISALLOWED');
    }
  });

  test('is asked before anything is decompressed', () => {
    const registry = new SerializerRegistry();
    const code = codeOf(() =>
      registry.decode(message('application/x-yaml', 'x', { compression: 'application/x-what' })),
    );
    expect(code).toBe('ERR_CONTENT_DISALLOWED');
  });

  test('knows names and MIME types; an unknown name is a mistake in the settings', () => {
    expect(() => new SerializerRegistry({ accept: ['jsno'] })).toThrow(
      'The serializer "jsno" is unknown. Expected one of: json',
    );
    expect([...new SerializerRegistry({ accept: ['application/x-own', 'yaml'] }).accepted]).toEqual([
      'application/x-own',
      'application/x-yaml',
    ]);
  });

  test('pickle says why it is refused', () => {
    const registry = new SerializerRegistry({ accept: ['pickle'] });
    expect(() => registry.decode(message('application/x-python-serialize', 'x'))).toThrow('Pickle is never decoded');
    expect(() => registry.encode('pickle', 1)).toThrow('The serializer "pickle" is not supported');
  });
});

describe('bodies', () => {
  test('larger than the limit, of another encoding, or not what their type says', () => {
    const registry = new SerializerRegistry({ limits: { maxBodyBytes: 100, maxDecompressedBytes: 1000 } });
    expect(codeOf(() => registry.decode(message('application/json', `"${'x'.repeat(100)}"`)))).toBe('ERR_DECODE');
    expect(
      codeOf(() => registry.decode({ ...message('application/json', ''), body: Buffer.from([0x22, 0xff, 0x22]) })),
    ).toBe('ERR_DECODE');
    expect(
      codeOf(() => registry.decode({ ...message('application/json', ''), body: Buffer.from('[1]', 'utf16le') })),
    ).toBe('ERR_DECODE');
    expect(codeOf(() => registry.decode(message('application/json', '\x91\x01')))).toBe('ERR_DECODE');
    const { body, contentType } = registry.compress('zlib', Buffer.from(`"${'x'.repeat(2000)}"`));
    expect(
      codeOf(() =>
        registry.decode({ ...message('application/json', ''), body, headers: { compression: contentType } }),
      ),
    ).toBe('ERR_DECODE');
    expect(registry.decode(message('application/json', '"\ufffd"'))).toBe('\ufffd');
  });

  test('compression is undone by alias and by type; none is none', () => {
    const registry = new SerializerRegistry();
    const { body } = registry.compress('zlib', Buffer.from('[1, 2]'));
    for (const compression of ['zlib', 'gzip', 'application/x-gzip']) {
      expect(registry.decode({ ...message('application/json', ''), body, headers: { compression } })).toEqual([1, 2]);
    }
    expect(registry.decode(message('application/json', '[1]', { compression: null }))).toEqual([1]);
    expect(codeOf(() => registry.decode(message('application/json', '[1]', { compression: 5 })))).toBe('ERR_DECODE');
  });
});

describe('optional serializers', () => {
  test('are asked for, then synchronous', async () => {
    const registry = new SerializerRegistry({ accept: ['msgpack', 'yaml'] });
    expect(registry.prepare([{ serializer: 'json' }])).toBeUndefined();
    expect(codeOf(() => registry.encode('msgpack', 1))).toBe('ERR_UNSUPPORTED');
    await registry.prepare([{ serializer: 'msgpack', compression: 'bzip2' }, { serializer: 'yaml' }]);
    expect(registry.prepare([{ serializer: 'msgpack', compression: 'bzip2' }])).toBeUndefined();
    for (const name of ['msgpack', 'yaml']) {
      const value = [[1, -2, 2 ** 40, 1.5, 'é', null, true], { k: [{}] }, Buffer.from([255, 0])];
      const { body, contentType, contentEncoding } = registry.encode(name, value);
      expect(contentEncoding).toBe(name === 'yaml' ? 'utf-8' : 'binary');
      const read = registry.decode({ ...message(contentType, ''), body }) as [unknown, unknown, Uint8Array];
      expect(read.slice(0, 2)).toEqual(value.slice(0, 2));
      expect(Buffer.from(read[2])).toEqual(value[2]);
    }
    expect(() => registry.prepare([{ compression: 'zip' }])).toThrow('The compression "zip" is unknown.');
    await expect(registry.prepare([{ serializer: 'xml' }])).rejects.toThrow('The serializer "xml" is unknown.');
  });

  test('msgpack: what Python wrote, integers of 64 bits, no extensions', async () => {
    const registry = new SerializerRegistry({ accept: ['msgpack'] });
    await registry.loadAccepted();
    const read = (base64: string): unknown =>
      registry.decode({ ...message('application/x-msgpack', ''), body: Buffer.from(base64, 'base64') });
    expect(read('k5oC/c8AAAEAAAAAAM+AAAAAAAAAANP////+AAAAAMs/+AAAAAAAAKLDqcQC/wDAw4Gha5EBgaljYWxsYmFja3PA')).toEqual([
      [2, -3, 2 ** 40, 2n ** 63n, -(2 ** 33), 1.5, 'é', Buffer.from([255, 0]), null, true],
      { k: [1] },
      { callbacks: null },
    ]);
    expect(codeOf(() => read('1v9pVbkA'))).toBe('ERR_DECODE');
    expect(Buffer.from(registry.encode('msgpack', [2 ** 40, 2n ** 63n, -(2 ** 33)]).body).toString('hex')).toBe(
      '93cf0000010000000000cf8000000000000000d3fffffffe00000000',
    );
    for (const refused of [new Date(), new Map(), 2n ** 64n, () => 1])
      expect(codeOf(() => registry.encode('msgpack', [refused]))).toBe('ERR_ENCODE');
  });

  test('yaml: what Python wrote, 1.1 words as text, no tags of code, few aliases', async () => {
    const registry = new SerializerRegistry({ accept: ['yaml'] });
    await registry.loadAccepted();
    const text =
      "- - 2\n  - -3\n  - 9223372036854775808\n  - 1.5\n  - é\n  - 'yes'\n  - 'no'\n  - '1.0'\n  - 'null'\n  - null\n  - true\n  - '12:30'\n- k:\n  - 1\n  y: 'on'\n- {}\n";
    const value = [
      [2, -3, 9223372036854775808n, 1.5, 'é', 'yes', 'no', '1.0', 'null', null, true, '12:30'],
      { k: [1], y: 'on' },
      {},
    ];
    const read = (body: string): unknown => registry.decode(message('application/x-yaml', body));
    expect(read(text)).toEqual(value);
    expect(read(Buffer.from(registry.encode('yaml', value).body).toString())).toEqual(value);
    const words = [
      'y',
      'n',
      '1e5',
      '09',
      '1:30',
      '0x1f',
      '010',
      '.5',
      '+1',
      '1_000',
      'NaN',
      '~',
      '2026-01-31',
      '<<',
      '=',
      'yes',
      ' a',
      '#',
      '- a',
      'a: b',
      '',
    ];
    const numbers = [1e21, 1e-7, -1.5, 0.1, Number.NaN, Infinity, 1e300, 123456789012345678901234567890n];
    const written = Buffer.from(
      registry.encode('yaml', [words, numbers, new Date('2026-01-31T12:00:00.250Z')]).body,
    ).toString();
    expect(read(written)).toEqual([words, numbers, new Date('2026-01-31T12:00:00.250Z')]);
    // What PyYAML writes of the same words.
    expect(read("['y', y, n, 1e5, 09, '1:30', 1:30, 0x1f, 010, 1_000, 1.0e+21, -.inf, Off]")).toEqual([
      'y',
      'y',
      'n',
      '1e5',
      '09',
      '1:30',
      90,
      31,
      8,
      1000,
      1e21,
      -Infinity,
      false,
    ]);
    expect(codeOf(() => read('a: [1'))).toBe('ERR_DECODE');
    const bomb = `a: &a [x,x,x,x,x,x,x,x,x]\n${'bcdefghi'
      .split('')
      .map(
        (name, index) => `${name}: &${name} [${Array.from({ length: 9 }, () => `*${'abcdefghi'[index]}`).join(',')}]`,
      )
      .join('\n')}\n`;
    expect(codeOf(() => read(bomb))).toBe('ERR_DECODE');
    expect(codeOf(() => read('!!python/object/apply:os.system ["true"]'))).toBe('ERR_DECODE');
  });
});

describe('results', () => {
  test('are text for json, bytes for msgpack, and follow their own accept list', async () => {
    const registry = new SerializerRegistry();
    const json = await registry.resultCodec('json', ['json']);
    expect(json.encode({ result: 1n })).toBe('{"result":1}');
    expect(json.decode('{"result": NaN}')).toEqual({ result: Number.NaN });
    expect(json.decode(Buffer.from('[1]'))).toEqual([1]);
    const packed = await registry.resultCodec('msgpack', ['json']);
    const bytes = packed.encode([1]);
    expect(bytes).toBeInstanceOf(Uint8Array);
    expect(codeOf(() => packed.decode(bytes))).toBe('ERR_CONTENT_DISALLOWED');
    await expect(registry.resultCodec('pickle', ['json'])).rejects.toThrow('The serializer "pickle" is not supported');
  });
});
