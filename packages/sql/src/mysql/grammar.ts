import type { SqlGrammar } from '../grammar.ts';

const quote = (name: string): string => `\`${name.replaceAll('`', '``')}\``;
const columnList = (columns: readonly { readonly name: string }[]): string =>
  columns.map(({ name }) => name).join(', ');

/** MySQL from 8.0.1 and MariaDB from 10.6. */
function grammar(product: 'mysql' | 'mariadb'): SqlGrammar {
  return {
    product,
    quote,
    catalogued: (name) => name,
    dual: '',
    types: {
      name: 'VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin',
      text: 'LONGTEXT CHARACTER SET utf8mb4',
      integer: 'BIGINT',
    },
    tableEnd: ' ENGINE=InnoDB',
    serial: 'BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY',
    nextOf: (sequence) => (product === 'mariadb' ? `nextval(${sequence})` : undefined),
    instant: '?',
    readInstant: (column) => column,
    yes: '1',
    no: '0',
    isOneOf: (column, values) => list(column, values),
    isOneOfTexts: (column, values) => list(column, values),
    first: (select, count) => `${select} LIMIT ${count}`,
    lockFirst: (select, count) => `${select} LIMIT ${count} FOR UPDATE SKIP LOCKED`,
    upsert: (table, { columns, update, where }) => {
      // Assignments are made from left to right, each seeing the ones before: those that `where` looks at come last,
      // in the order of `update`.
      const stored = (column: string): string => column;
      const given = (column: string): string => `VALUES(${column})`;
      const condition = where?.(stored, given);
      const assignments = update(stored, given).map(([column, value]) => ({
        isLast: condition?.includes(column) ?? false,
        sql: `${column} = ${condition === undefined ? value : `IF(${condition}, ${value}, ${column})`}`,
      }));
      const ordered = [...assignments.filter(({ isLast }) => !isLast), ...assignments.filter(({ isLast }) => isLast)];
      return {
        into: `INSERT INTO ${table} (${columnList(columns)}) VALUES `,
        row: `(${columns.map(({ value = '?' }) => value).join(', ')})`,
        after: ` ON DUPLICATE KEY UPDATE ${ordered.map(({ sql }) => sql).join(', ')}`,
      };
    },
    // Not INSERT IGNORE, which ignores all other errors as well.
    insertNew: (table, columns, [key = '']) => ({
      into: `INSERT INTO ${table} (${columnList(columns)}) VALUES `,
      row: `(${columns.map(({ value = '?' }) => value).join(', ')})`,
      after: ` ON DUPLICATE KEY UPDATE ${key} = ${table}.${key}`,
    }),
    existing: (names, schema) => {
      const tables = list('TABLE_NAME', names);
      const indexes = list('INDEX_NAME', names);
      return {
        sql: `SELECT TABLE_NAME AS name FROM information_schema.TABLES WHERE TABLE_SCHEMA = COALESCE(?, DATABASE()) AND ${tables.sql} UNION SELECT INDEX_NAME FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = COALESCE(?, DATABASE()) AND ${indexes.sql}`,
        parameters: [schema ?? null, ...tables.parameters, schema ?? null, ...indexes.parameters],
      };
    },
    columnsOf: (table, schema) => ({
      sql: `SELECT COLUMN_NAME AS name, CASE WHEN EXTRA LIKE '%auto_increment%' OR COLUMN_DEFAULT <> 'NULL' THEN 1 ELSE 0 END AS generated, CASE WHEN DATA_TYPE IN ('text', 'mediumtext', 'blob', 'mediumblob', 'tinytext', 'tinyblob') THEN CHARACTER_OCTET_LENGTH ELSE 0 END AS bytes FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = COALESCE(?, DATABASE()) AND TABLE_NAME = ?`,
      parameters: [schema ?? null, table],
    }),
    readyIndex: (index, table) => `CREATE INDEX ${index} ON ${table} (queue_id, visible, id)`,
  };
}

function list(column: string, values: readonly (string | number)[]) {
  if (values.length === 0) return { sql: '1 = 0', parameters: [] };
  return { sql: `${column} IN (${values.map(() => '?').join(', ')})`, parameters: values };
}

export const mysqlGrammar: SqlGrammar = grammar('mysql');
export const mariadbGrammar: SqlGrammar = grammar('mariadb');
