import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import type { DocumentStore } from '@lovage/core/backend';
import type { BackendTest, BackendTrial } from './trial.ts';

/** Documents cannot be removed: they are kept for a minute. */
const KEPT = { ttlSeconds: 60 };

export const documents: readonly BackendTest[] = [
  {
    name: 'documents: what one process writes another reads, with its version',
    async run(trial) {
      const [one, other] = await pair(trial);
      const name = `lovage-kit-${randomUUID()}`;
      assert.equal(await other.read(name), undefined);
      const version = await one.write(name, 'é\n{"a": 1}', undefined, KEPT);
      assert.deepEqual(await other.read(name), { text: 'é\n{"a": 1}', version });
      const next = await other.write(name, 'two', version, KEPT);
      assert.notEqual(next, version, 'the version after a write');
      assert.deepEqual(await one.read(name), { text: 'two', version: next });
    },
  },
  {
    name: 'documents: nothing is written over a version that was not read',
    async run(trial) {
      const [one, other] = await pair(trial);
      const name = `lovage-kit-${randomUUID()}`;
      const first = await one.write(name, 'one', undefined, KEPT);
      assert.equal(await other.write(name, 'new', undefined, KEPT), undefined, 'written where there was one');
      const second = await one.write(name, 'two', first, KEPT);
      assert.equal(await other.write(name, 'late', first, KEPT), undefined, 'written over an older version');
      assert.equal(await one.write(`${name}-other`, 'x', second, KEPT), undefined, 'written over nothing');
      assert.equal((await one.read(name))?.text, 'two');
    },
  },
  {
    name: 'documents: of many who write at once over the same version, one is first',
    async run(trial) {
      const stores = await pair(trial);
      const name = `lovage-kit-${randomUUID()}`;
      for (let version: string | undefined, round = 0; round < 5; round++) {
        const over: string | undefined = version;
        const versions = await Promise.all(
          Array.from({ length: 8 }, (_, index) =>
            (stores[index % 2] as DocumentStore).write(name, `${round}.${index}`, over, KEPT),
          ),
        );
        const winners = versions.filter((one) => one !== undefined);
        assert.equal(winners.length, 1, `writers of round ${round} who were first`);
        version = winners[0];
        const index = versions.indexOf(version);
        assert.equal((await stores[0].read(name))?.text, `${round}.${index}`);
      }
    },
  },
];

async function pair(trial: BackendTrial): Promise<[DocumentStore, DocumentStore]> {
  const one = (await trial.open()).backend.documents;
  const other = (await trial.open()).backend.documents;
  if (one === undefined || other === undefined) trial.skip('no "documents": the store cannot compare and swap');
  return [one, other];
}
