import { describe, expect, test } from 'vitest';
import { explainMysql } from '../mysql/errors.ts';
import { explainOracle } from '../oracle/errors.ts';
import { explainPostgresql } from '../postgresql/errors.ts';

const failed = (fields: object): Error => Object.assign(new Error('what the server says'), fields);

describe('what a server says is classified by its code', () => {
  test.each([
    ['40001', 'conflict', 'ERR_PRECONDITION_FAILED'],
    ['40P01', 'conflict', 'ERR_PRECONDITION_FAILED'],
    ['23503', 'conflict', 'ERR_PRECONDITION_FAILED'],
    ['55P03', 'refused', 'ERR_TIMEOUT'],
    ['28P01', 'lost', 'ERR_AUTH'],
    ['3D000', 'lost', 'ERR_CONNECT'],
    ['53100', 'fatal', 'ERR_BLOCKED'],
    ['53300', 'lost', 'ERR_CONNECT'],
    ['57P01', 'lost', 'ERR_CONNECTION_LOST'],
    ['25006', 'lost', 'ERR_CONNECTION_LOST'],
    ['42P01', 'refused', 'ERR_PRECONDITION_FAILED'],
    ['42501', 'refused', 'ERR_CONNECT'],
    ['ECONNREFUSED', 'lost', 'ERR_CONNECT'],
    [undefined, 'lost', 'ERR_CONNECT'],
  ])('PostgreSQL %s', (code, kind, expected) => {
    expect(explainPostgresql(failed({ code }), 'X')).toMatchObject({ kind, error: { code: expected } });
  });

  test.each([
    [1213, 'conflict', 'ERR_PRECONDITION_FAILED'],
    [1452, 'conflict', 'ERR_PRECONDITION_FAILED'],
    [1205, 'refused', 'ERR_TIMEOUT'],
    [1045, 'lost', 'ERR_AUTH'],
    [1049, 'lost', 'ERR_CONNECT'],
    [1153, 'refused', 'ERR_TOO_LARGE'],
    [1406, 'refused', 'ERR_TOO_LARGE'],
    [1114, 'fatal', 'ERR_BLOCKED'],
    [1927, 'lost', 'ERR_CONNECTION_LOST'],
    [1146, 'refused', 'ERR_PRECONDITION_FAILED'],
  ])('MySQL %i', (errno, kind, expected) => {
    expect(explainMysql(failed({ errno, sqlState: 'HY000' }), 'X')).toMatchObject({ kind, error: { code: expected } });
  });

  test('a number of the socket is none of MySQL', () => {
    expect(explainMysql(failed({ errno: -111, code: 'ECONNREFUSED' }), 'X')).toMatchObject({
      kind: 'lost',
      error: { code: 'ERR_CONNECT' },
    });
  });

  test.each([
    [1, 'ORA-00001', 'conflict', 'ERR_PRECONDITION_FAILED'],
    [60, 'ORA-00060', 'conflict', 'ERR_PRECONDITION_FAILED'],
    [30006, 'ORA-30006', 'refused', 'ERR_TIMEOUT'],
    [1017, 'ORA-01017', 'lost', 'ERR_AUTH'],
    [1653, 'ORA-01653', 'fatal', 'ERR_BLOCKED'],
    [3113, 'ORA-03113', 'lost', 'ERR_CONNECTION_LOST'],
    [12541, 'ORA-12541', 'lost', 'ERR_CONNECT'],
    [942, 'ORA-00942', 'refused', 'ERR_PRECONDITION_FAILED'],
    [500, 'NJS-500', 'lost', 'ERR_CONNECT'],
  ])('Oracle %i %s', (errorNum, code, kind, expected) => {
    expect(explainOracle(failed({ errorNum, code }), 'X')).toMatchObject({ kind, error: { code: expected } });
  });
});
