import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { promisify } from 'node:util';
import { GetObjectCommand, ListObjectsV2Command, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { s3Backend } from '@lovage/backend-s3';
import { Lovage } from '@lovage/core';
import { BackendUrl, type ResultBackend } from '@lovage/core/backend';
import { afterAll, describe, expect, test } from 'vitest';
import { serviceUrl } from '../../conformance/test/service-url.ts';

const given = serviceUrl('s3');
const python = process.env['LOVAGE_TEST_PYTHON'];

describe.skipIf(given === undefined)('results in S3', () => {
  const { host: bucket, username = '', password = '', query } = new BackendUrl(given ?? 's3://none');
  const endpoint = String(query['endpoint_url']);
  const basePath = `${randomUUID()}/`;
  const settings = {
    s3AccessKeyId: username,
    s3SecretAccessKey: password,
    s3Bucket: bucket,
    s3BasePath: basePath,
    s3EndpointUrl: endpoint,
    s3Region: 'us-east-1',
  };
  const client = new S3Client({
    endpoint,
    region: 'us-east-1',
    forcePathStyle: true,
    credentials: { accessKeyId: username, secretAccessKey: password },
  });
  const apps: Lovage[] = [];
  afterAll(async () => {
    await Promise.all(apps.map((app) => app.close()));
    client.destroy();
  });

  async function open(own: Readonly<Record<string, unknown>> = {}): Promise<ResultBackend> {
    const app = appWith(own);
    return app.requireBackend('test it');
  }

  function appWith(own: Readonly<Record<string, unknown>> = {}): Lovage {
    const app = new Lovage('test', {
      broker: 'memory://',
      backend: 's3://',
      backends: [s3Backend],
      ...settings,
      ...own,
    });
    apps.push(app);
    return app;
  }

  /** Runs Python with Celery's own backend on the bucket, as `app`. */
  async function celery(program: string): Promise<unknown> {
    const before = `import json
from celery import Celery
from celery.result import AsyncResult, GroupResult
app = Celery(broker='memory://', backend='s3://', set_as_current=True)
app.conf.update(json.loads(${JSON.stringify(JSON.stringify(snakeCase(settings)))}))
`;
    const { stdout } = await promisify(execFile)(python as string, ['-c', before + program]);
    return JSON.parse(stdout);
  }

  const objects = async (): Promise<string[]> => {
    const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: bucket, Prefix: basePath }));
    return Contents.map(({ Key = '' }) => Key.slice(basePath.length)).filter(
      (key) => !key.endsWith('lovage-conditional-writes'),
    );
  };
  const metaOf = (task_id: string, status = 'SUCCESS', result: unknown = 4) => ({
    meta: { status, result, traceback: null, children: [], date_done: null, task_id },
  });

  test.skipIf(python === undefined)('what Python stores is read here: states, exceptions, groups', async () => {
    const [good, bad, custom, group] = [randomUUID(), randomUUID(), randomUUID(), randomUUID()];
    await celery(`
app.backend.store_result('${good}', {'a': [1, None, 'é']}, 'SUCCESS')
app.backend.store_result('${bad}', ValueError('no', 7), 'FAILURE', traceback='Traceback ...')
app.backend.store_result('${custom}', {'done': 3}, 'PROGRESS')
GroupResult('${group}', [AsyncResult('${good}'), AsyncResult('${bad}')]).save()
print('0')`);
    const app = appWith();
    expect(await app.asyncResult(good).get({ timeout: 50 })).toEqual({ a: [1, null, 'é'] });
    await expect(app.asyncResult(bad).get({ timeout: 50 })).rejects.toMatchObject({ code: 'ERR_TASK_FAILED' });
    expect(await app.asyncResult(custom).state()).toBe('PROGRESS');
    expect((await app.restoreGroup(group))?.results.map(({ id }) => id)).toEqual([good, bad]);
  });

  test.skipIf(python === undefined)('what is stored here Python reads: states, exceptions, groups', async () => {
    const backend = await open();
    const [good, bad, group] = [randomUUID(), randomUUID(), randomUUID()];
    await backend.store([
      metaOf(good, 'SUCCESS', { a: [1, null, 'é'] }),
      {
        meta: {
          ...metaOf(bad, 'FAILURE', { exc_type: 'ValueError', exc_message: ['no', 7], exc_module: 'builtins' }).meta,
          traceback: 'Traceback ...',
        },
      },
    ]);
    await backend.saveGroup(group, [
      [group, null],
      [
        [[good, null], null],
        [[bad, null], null],
      ],
    ]);
    const seen = await celery(`
bad = AsyncResult('${bad}')
group = GroupResult.restore('${group}')
app.backend.store_result('${good}', 'late', 'FAILURE')
print(json.dumps([AsyncResult('${good}').get(timeout=5), bad.state, repr(bad.result), bad.traceback, [r.id for r in group]]))`);
    expect(seen).toEqual([{ a: [1, null, 'é'] }, 'FAILURE', "ValueError('no', 7)", 'Traceback ...', [good, bad]]);
  });

  test('an object is named like the key below the base path, and holds nothing but the value', async () => {
    const backend = await open({ s3BasePath: `${basePath}layout/` });
    await backend.store([metaOf('an id/with ä')]);
    const Key = `${basePath}layout/celery-task-meta-an id/with ä`;
    const { Body } = await client.send(new GetObjectCommand({ Bucket: bucket, Key }));
    expect(JSON.parse((await Body?.transformToString()) ?? '')).toMatchObject({ status: 'SUCCESS', result: 4 });
    expect((await backend.load(['an id/with ä']))[0]).toMatchObject({ status: 'SUCCESS', result: 4 });
  });

  test('the cleanup removes old results and documents that have expired, and nothing else', async () => {
    const backend = await open({ s3BasePath: `${basePath}cleanup/`, resultExpires: 1 });
    const id = randomUUID();
    await client.send(new PutObjectCommand({ Bucket: bucket, Key: `${basePath}cleanup/report.pdf`, Body: 'x' }));
    // Another app's, which keeps them longer.
    const other = `cleanup/shop_celery-task-meta-${id}`;
    await client.send(new PutObjectCommand({ Bucket: bucket, Key: basePath + other, Body: '{}' }));
    await backend.store([metaOf(id)]);
    await backend.documents?.write('gone', 'a', undefined, { ttlSeconds: -1 });
    await backend.documents?.write('kept', 'b', undefined, { ttlSeconds: 60 });
    await expect
      .poll(
        async () => {
          await backend.cleanup();
          return (await objects()).filter((key) => key.startsWith('cleanup/'));
        },
        { timeout: 5000, interval: 200 },
      )
      .toEqual(['cleanup/lovage-document/kept', 'cleanup/report.pdf', other]);
  });

  test('what has expired counts as nothing to a document', async () => {
    const { documents } = await open();
    const first = await documents?.write('lease', 'one', undefined, { ttlSeconds: -1 });
    expect(await documents?.read('lease')).toBeUndefined();
    const second = await documents?.write('lease', 'two', undefined, { ttlSeconds: 60 });
    expect(second).not.toBe(first);
    expect(await documents?.read('lease')).toEqual({ text: 'two', version: second });
    expect(await documents?.write('lease', 'three', undefined)).toBeUndefined();
  });

  test('two writes of the same text have two versions', async () => {
    const { documents } = await open();
    const first = await documents?.write('same', 'text', undefined);
    const second = await documents?.write('same', 'other', first);
    const third = await documents?.write('same', 'text', second);
    expect(new Set([first, second, third]).size).toBe(3);
  });

  test('a server that is said to write on nothing is read before each write, and has no documents', async () => {
    const backend = await open({ resultBackendTransportOptions: { conditionalWrites: false } });
    const id = randomUUID();
    await backend.store([metaOf(id, 'STARTED', null)]);
    await backend.store([metaOf(id, 'SUCCESS', 1)]);
    await backend.store([metaOf(id, 'FAILURE', null)]);
    expect((await backend.load([id]))[0]).toMatchObject({ status: 'SUCCESS', result: 1 });
    expect(backend.documents).toBeUndefined();
  });

  test.each([
    ['no bucket', { s3Bucket: undefined }, /has no bucket/],
    ['a bucket that is not there', { s3Bucket: 'not-there' }, /there is no such bucket/],
    ['a wrong secret', { s3SecretAccessKey: 'wrong' }, /AWS refused the credentials/],
    ['half a key', { s3SecretAccessKey: undefined }, /one half of an access key/],
    ['an endpoint that is no URL', { s3EndpointUrl: 'localhost:9000' }, /Expected a URL/],
  ])('%s is an error that says so', async (_, own, message) => {
    await expect(open(own)).rejects.toThrow(message);
  });
});

function snakeCase(values: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => [
      name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
      value,
    ]),
  );
}
