import { resolve } from 'node:path';
import { BrokerUrl } from '@lovage/core/transport';
import { expect, test } from 'vitest';
import { readFilesystemOptions } from './options.ts';

const read = (url: string, transportOptions: Record<string, unknown> = {}) =>
  readFilesystemOptions(new BrokerUrl(url), { transportOptions });

test("filesystem:// has Kombu's folders, in the working directory", () => {
  expect(read('filesystem://')).toEqual({
    folderIn: resolve('data_in'),
    folderOut: resolve('data_out'),
    controlFolder: resolve('control'),
    processedFolder: undefined,
    leaseMs: 30_000,
    pollMs: 1000,
    isSynchronous: true,
  });
});

test("Kombu's options", () => {
  const options = {
    data_folder_in: '/in',
    data_folder_out: '/out',
    control_folder: '/control',
    store_processed: true,
    processed_folder: '/done',
    polling_interval: 0.5,
  };
  expect(read('filesystem://', options)).toMatchObject({
    folderIn: '/in',
    folderOut: '/out',
    controlFolder: '/control',
    processedFolder: '/done',
    pollMs: 500,
  });
});

test('a folder in the URL holds everything, and options win', () => {
  expect(
    read('filesystem:///var/lib/x?store_processed=true&synchronous=normal', { control_folder: '/c' }),
  ).toMatchObject({
    folderIn: '/var/lib/x',
    folderOut: '/var/lib/x',
    controlFolder: '/c',
    processedFolder: '/var/lib/x/processed',
    isSynchronous: false,
  });
});

test.each([
  ['filesystem://folder/x', {}, /names a host\. Expected "filesystem:\/\/".*three slashes/],
  ['filesystem://', { data_folder: 'x' }, /no option "data_folder"\. Did you mean/],
  ['filesystem://', { synchronous: 'off' }, /one of: full, normal/],
  ['filesystem://', { leaseMs: 10 }, /at least 500/],
])('%s with %j is refused', (url, options, message) => {
  expect(() => read(url, options)).toThrow(message);
});
