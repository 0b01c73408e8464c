import { existsSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { BROKERS, findBroker, resultsOf } from './brokers.ts';
import { manifestParts, projectFiles } from './files.ts';

const packages = new URL('../../../', import.meta.url);
const isPackage = (name: string): boolean => existsSync(new URL(`${name}/package.json`, packages));

test.each(BROKERS)('$name: its URL, packages and driver are real', (choice) => {
  expect(findBroker(choice.broker)).toEqual(choice);
  expect(isPackage(choice.transport)).toBe(true);
  expect(isPackage(resultsOf(choice, choice.broker).package)).toBe(true);
  if (choice.driver === undefined) return;
  const [driver, range] = choice.driver;
  // The version that the tests run with.
  const catalog = readFileSync(new URL('../pnpm-workspace.yaml', packages), 'utf8');
  expect(catalog).toContain(`  ${driver}: ${range.slice(1)}\n`);
});

test('a broker is found by other names and by any URL, whose results go to the same server', () => {
  expect(findBroker('RabbitMQ')?.name).toBe('amqp');
  expect(findBroker('nothing')).toBeUndefined();
  expect(findBroker('http://localhost')).toBeUndefined();
  const found = findBroker("sqla+postgresql://ada:it's@db/shop");
  expect(found?.name).toBe('postgresql');
  if (found === undefined) return;
  const plan = { name: 'shop', choice: found, version: '1.2.3', exec: () => '', runScript: () => '' };
  const config = projectFiles({ ...plan, resultBackend: undefined }).get('lovage.config.ts');
  expect(config).toContain(String.raw`broker: 'sqla+postgresql://ada:it\'s@db/shop'`);
  expect(config).toContain(String.raw`backend: 'db+postgresql://ada:it\'s@db/shop'`);
  const { dependencies } = manifestParts({ ...plan, resultBackend: 'redis://elsewhere' });
  expect(Object.keys(dependencies)).toEqual(['@lovage/cli', '@lovage/core', '@lovage/transport-sql', 'pg']);
});
