import { getEventListeners } from 'node:events';
import { isLovageError, NotFoundError, silentLogger } from '@lovage/core/transport';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { reach, regionOf } from './client.ts';
import { type AwsService, isNamed } from './errors.ts';
import { AwsLink } from './link.ts';

const SERVICE: AwsService = {
  name: 'Things',
  credentials: 'in the URL (things://key:secret@)',
  toLovageError: (error, what) =>
    error.name === 'NoSuchThing' ? new NotFoundError(`${what}: no thing.`, { cause: error }) : undefined,
};

/** As the SDK throws it: a status for an answer, none where there was no answer. */
function sdkError(name: string, httpStatusCode?: number): Error {
  return Object.assign(new Error(`it says ${name}`), { name, $metadata: { httpStatusCode } });
}

const open = (options: { lossMs?: number; busyMs?: number; requestMs?: number } = {}) =>
  new AwsLink({
    service: SERVICE,
    lossMs: 60_000,
    busyMs: 60_000,
    requestMs: 60_000,
    where: 'Amazon Things',
    logger: silentLogger,
    ...options,
  });

describe('a request', () => {
  test('is sent again while nobody answers, and while patience is asked for', async () => {
    const failures = [
      sdkError('ECONNRESET'),
      sdkError('SlowDown', 503),
      sdkError('ProvisionedThroughputExceededException', 400),
    ];
    const link = open();
    const answer = await link.request(
      async () => {
        const failure = failures.shift();
        if (failure !== undefined) throw failure;
        return 'done';
      },
      { what: 'Asking' },
    );
    expect(answer).toBe('done');
    link.close();
  });

  test.each([
    [sdkError('NoSuchThing', 404), 'ERR_NOT_FOUND', 'Asking: no thing.'],
    [sdkError('SignatureDoesNotMatch', 403), 'ERR_AUTH', 'AWS refused the credentials'],
    [sdkError('AccessDenied', 403), 'ERR_AUTH', 'these credentials do not permit it'],
    [
      sdkError('CredentialsProviderError'),
      'ERR_AUTH',
      'Put them in the URL (things://key:secret@), in AWS_ACCESS_KEY_ID',
    ],
    [sdkError('ValidationException', 400), 'ERR_CONFIG', 'Things refused the request (ValidationException)'],
    [sdkError('PermanentRedirect', 301), 'ERR_CONFIG', 'PermanentRedirect'],
    [sdkError('NotImplemented', 501), 'ERR_CONFIG', 'NotImplemented'],
    [new RangeError('wrong'), 'ERR_CONFIG', 'RangeError'],
  ])('that is refused ends at once: %s', async (failure, code, text) => {
    const link = open();
    const ask = vi.fn(() => Promise.reject(failure));
    const error: unknown = await link.request(ask, { what: 'Asking' }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code, cause: failure });
    expect(String(error)).toContain(text);
    expect(isNamed(error, failure.name)).toBe(true);
    expect(ask).toHaveBeenCalledTimes(1);
    link.close();
  });

  test('that a busy service does not take in its time is an error, and no loss', async () => {
    const link = open({ busyMs: 0 });
    const busy = () => Promise.reject(sdkError('ThrottlingException', 400));
    await expect(link.request(busy, { what: 'Asking' })).rejects.toMatchObject({ code: 'ERR_BLOCKED' });
    expect(await link.request(() => Promise.resolve(1), { what: 'Asking' })).toBe(1);
    link.close();
  });

  test('pauses no longer than it has patience', async () => {
    const link = open({ busyMs: 200 });
    const startedAt = performance.now();
    const busy = () => Promise.reject(sdkError('SlowDown', 503));
    await expect(link.request(busy, { what: 'Asking' })).rejects.toMatchObject({ code: 'ERR_BLOCKED' });
    expect(performance.now() - startedAt).toBeLessThanOrEqual(210);
    link.close();
  });

  test('leaves nothing on a signal that outlives it', async () => {
    const link = open();
    const { signal } = new AbortController();
    const failures = [sdkError('ECONNRESET')];
    await link.request(
      async () => {
        const failure = failures.shift();
        if (failure !== undefined) throw failure;
      },
      { what: 'Asking', signal },
    );
    expect(getEventListeners(signal, 'abort')).toHaveLength(0);
    link.close();
  });

  test('that nobody answers for too long is the loss of the link', async () => {
    const link = open({ lossMs: 0 });
    const silent = () => Promise.reject(sdkError('TimeoutError'));
    await expect(link.request(silent, { what: 'Asking' })).rejects.toMatchObject({ code: 'ERR_CONNECTION_LOST' });
    await expect(link.lost).rejects.toThrow('Amazon Things did not answer for 0 ms.');
    await expect(link.request(() => Promise.resolve(1), { what: 'Asking' })).rejects.toMatchObject({
      code: 'ERR_CONNECTION_LOST',
    });
  });

  const never = (signal: AbortSignal): Promise<never> =>
    new Promise((_, reject) => {
      signal.addEventListener('abort', () => reject(sdkError('AbortError')), { once: true });
    });

  test('that is made again after a failure ends when the link counts as lost', async () => {
    const link = open({ lossMs: 50 });
    const attempts = [() => Promise.reject(sdkError('ECONNRESET')), never, never];
    const asking = link.request((signal) => (attempts.shift() ?? never)(signal), { what: 'Asking' });
    // Far from the minute that each of them may take.
    await expect(asking).rejects.toMatchObject({ code: 'ERR_CONNECTION_LOST' });
  }, 30_000);

  test('has its time, and ends with the link', async () => {
    const link = open({ requestMs: 1, lossMs: 1 });
    await expect(link.request(never, { what: 'Asking' })).rejects.toMatchObject({ code: 'ERR_CONNECTION_LOST' });
    const closing = open();
    const pending = closing.request(never, { what: 'Asking' });
    closing.close();
    await expect(pending).rejects.toMatchObject({ code: 'ERR_CLOSED' });
  });
});

describe('the first request', () => {
  const first = (ask: () => Promise<unknown>) =>
    reach(ask, { service: SERVICE, where: 'Amazon Things', timeoutMs: 1000, signal: undefined });

  test('that is forbidden is an answer; that nobody answers is a ConnectError', async () => {
    expect(await first(() => Promise.resolve(7))).toBe(7);
    expect(await first(() => Promise.reject(sdkError('AccessDenied', 403)))).toBeUndefined();
    for (const failure of [sdkError('ECONNREFUSED'), sdkError('ServiceUnavailable', 503)]) {
      const error: unknown = await first(() => Promise.reject(failure)).catch((thrown: unknown) => thrown);
      expect(isLovageError(error, 'ERR_CONNECT')).toBe(true);
      expect(String(error)).toContain('Amazon Things cannot be reached');
    }
    await expect(first(() => Promise.reject(sdkError('ExpiredToken', 403)))).rejects.toMatchObject({
      code: 'ERR_AUTH',
    });
  });
});

describe('the region', () => {
  afterEach(() => vi.unstubAllEnvs());

  test("is what is given, the environment's, the profile's, us-east-1", async () => {
    let destroyed = 0;
    const client = (region: () => Promise<string>) => () => ({ config: { region }, destroy: () => void destroyed++ });
    const none = client(() => Promise.reject(new Error('no region')));
    vi.stubEnv('AWS_REGION', undefined);
    vi.stubEnv('AWS_DEFAULT_REGION', undefined);
    expect(await regionOf(undefined, none)).toBe('us-east-1');
    expect(
      await regionOf(
        undefined,
        client(() => Promise.resolve('eu-west-3')),
      ),
    ).toBe('eu-west-3');
    vi.stubEnv('AWS_DEFAULT_REGION', 'eu-west-2');
    expect(await regionOf(undefined, none)).toBe('eu-west-2');
    vi.stubEnv('AWS_REGION', 'eu-west-1');
    expect(await regionOf(undefined, none)).toBe('eu-west-1');
    expect(await regionOf('us-west-2', none)).toBe('us-west-2');
    expect(destroyed).toBe(2);
  });
});
