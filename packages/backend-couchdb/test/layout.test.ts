import { randomUUID } from 'node:crypto';
import { couchdbBackend } from '@lovage/backend-couchdb';
import { storeOptions, taskMeta } from '@lovage/conformance';
import { BackendUrl, type ResultBackend } from '@lovage/core/backend';
import { type CouchDatabase, openCouchDatabase, readCouchEndpoint } from '@lovage/couchdb';
import { afterAll, describe, expect, test } from 'vitest';
import { serviceUrl } from '../../conformance/test/service-url.ts';

const url = serviceUrl('couchdb')?.replace(/\/[^/]*$/, '/results');

describe.skipIf(url === undefined)('results in CouchDB', async () => {
  const target = new BackendUrl(url ?? 'couchdb://none');
  const endpoint = readCouchEndpoint(target, 'default');
  const database = (url === undefined ? undefined : await openCouchDatabase(endpoint)) as CouchDatabase;
  const backend = (url === undefined ? undefined : await open()) as ResultBackend;
  afterAll(async () => {
    database?.close();
    await backend?.close();
  });

  function open(): Promise<ResultBackend> {
    return couchdbBackend.open(target, storeOptions());
  }

  const metaOf = (taskId: string, result: unknown) => ({ meta: taskMeta(taskId, { result }) });

  test('a document as Celery has it: the key as id, the encoded value as text', async () => {
    const id = randomUUID();
    await backend.store([metaOf(id, { a: 'é' })]);
    const [doc] = await database.documents([`celery-task-meta-${id}`]);
    expect(JSON.parse(String(doc?.['value']))).toMatchObject({ status: 'SUCCESS', result: { a: 'é' }, task_id: id });
  });

  test("what Celery's backend wrote is read", async () => {
    const id = randomUUID();
    const value = `{"status": "SUCCESS", "result": 4, "traceback": null, "children": [], "date_done": null, "task_id": "${id}"}`;
    await database.write([{ _id: `celery-task-meta-${id}`, value }]);
    expect((await backend.load([id]))[0]).toMatchObject({ status: 'SUCCESS', result: 4 });
  });

  test('the cleanup leaves what Celery stored without an end', async () => {
    const [kept, expired] = [randomUUID(), randomUUID()];
    const value = '{"status": "SUCCESS", "result": 4}';
    await database.write([
      { _id: `celery-task-meta-${kept}`, value },
      { _id: `celery-task-meta-${expired}`, value, expires_at: Date.now() - 1 },
    ]);
    await backend.cleanup();
    const documents = await database.documents([kept, expired].map((id) => `celery-task-meta-${id}`));
    expect(documents.map((doc) => doc !== undefined)).toEqual([true, false]);
  });
});
