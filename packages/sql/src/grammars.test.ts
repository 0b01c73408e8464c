import { describe, expect, test } from 'vitest';
import { grammarOf } from './grammars.ts';

const counter = {
  columns: [{ name: 'id' }, { name: 'n', value: '1' }],
  key: 'id',
  update: (stored: (column: string) => string) => [['n', `${stored('n')} + 1`]] as const,
  where: (stored: (column: string) => string) => `${stored('n')} < 9`,
};

describe('grammars', () => {
  test.each([
    ['postgresql', '"a"', '"FK_a"'],
    ['mysql', '`a`', '`FK_a`'],
    // SQLAlchemy leaves a lower-case name unquoted, which Oracle folds to upper case.
    ['oracle', 'a', '"FK_a"'],
  ] as const)('%s quotes as SQLAlchemy does', (product, plain, mixed) => {
    const { quote } = grammarOf(product);
    expect([quote('a'), quote('FK_a')]).toEqual([plain, mixed]);
  });

  test('Oracle catalogues an unquoted name in upper case', () => {
    const { catalogued } = grammarOf('oracle');
    expect([catalogued('kombu_queue'), catalogued('Mine')]).toEqual(['KOMBU_QUEUE', 'Mine']);
  });

  test.each([
    ['postgresql', 'S LIMIT 2 FOR UPDATE SKIP LOCKED', 'S LIMIT 2'],
    ['mysql', 'S LIMIT 2 FOR UPDATE SKIP LOCKED', 'S LIMIT 2'],
    ['mariadb', 'S LIMIT 2 FOR UPDATE SKIP LOCKED', 'S LIMIT 2'],
    ['oracle', 'S FOR UPDATE SKIP LOCKED', 'S FETCH FIRST 2 ROWS ONLY'],
  ] as const)('%s limits and locks', (product, locked, limited) => {
    const grammar = grammarOf(product);
    expect([grammar.lockFirst('S', 2), grammar.first('S', 2)]).toEqual([locked, limited]);
  });

  test.each([
    [
      'postgresql',
      'INSERT INTO t (id, n) VALUES (?, 1) ON CONFLICT (id) DO UPDATE SET n = t.n + 1 WHERE t.n < 9',
      'INSERT INTO t (id) VALUES (?) ON CONFLICT (id) DO NOTHING',
    ],
    [
      'mysql',
      'INSERT INTO t (id, n) VALUES (?, 1) ON DUPLICATE KEY UPDATE n = IF(n < 9, n + 1, n)',
      'INSERT INTO t (id) VALUES (?) ON DUPLICATE KEY UPDATE id = t.id',
    ],
    [
      'oracle',
      'MERGE INTO t t USING (SELECT ? AS id FROM DUAL) s ON (t.id = s.id) WHEN MATCHED THEN UPDATE SET t.n = t.n + 1 WHERE t.n < 9 WHEN NOT MATCHED THEN INSERT (id, n) VALUES (s.id, 1)',
      'MERGE INTO t t USING (SELECT ? AS id FROM DUAL) s ON (t.id = s.id) WHEN NOT MATCHED THEN INSERT (id) VALUES (s.id)',
    ],
  ] as const)('%s inserts or updates', (product, upsert, insertNew) => {
    const grammar = grammarOf(product);
    const whole = ({ into, row, after = '' }: { into: string; row: string; after?: string }) => `${into}${row}${after}`;
    expect(whole(grammar.upsert('t', counter))).toBe(upsert);
    expect(whole(grammar.insertNew('t', [{ name: 'id' }], ['id']))).toBe(insertNew);
  });

  test('MySQL looks at columns before it changes them', () => {
    const { after } = grammarOf('mysql').upsert('t', {
      columns: [{ name: 'at' }, { name: 'status' }, { name: 'result' }],
      key: 'id',
      update: (_, given) => [
        ['at', given('at')],
        ['status', given('status')],
        ['result', given('result')],
      ],
      where: (stored, given) => `${stored('status')} <> 'SUCCESS' AND ${stored('at')} <= ${given('at')}`,
    });
    const condition = "status <> 'SUCCESS' AND at <= VALUES(at)";
    expect(after).toBe(
      ` ON DUPLICATE KEY UPDATE ${['result', 'at', 'status'].map((name) => `${name} = IF(${condition}, VALUES(${name}), ${name})`).join(', ')}`,
    );
  });

  test('lists are parameters, and have few lengths on Oracle, which parses each text once', () => {
    expect(grammarOf('postgresql').isOneOf('id', [1, 2])).toEqual({
      sql: 'id = ANY(CAST(? AS bigint[]))',
      parameters: ['{1,2}'],
    });
    expect(grammarOf('postgresql').isOneOfTexts('name', ['a"b', 'c\\d']).parameters).toEqual(['{"a\\"b","c\\\\d"}']);
    expect(grammarOf('mysql').isOneOf('id', [1, 2, 3])).toEqual({ sql: 'id IN (?, ?, ?)', parameters: [1, 2, 3] });
    expect(grammarOf('oracle').isOneOf('id', [1, 2, 3])).toEqual({
      sql: 'id IN (?, ?, ?, ?, ?)',
      parameters: [1, 2, 3, 3, 3],
    });
    expect(grammarOf('mysql').isOneOf('id', []).sql).toBe('1 = 0');
  });
});
