import { ConfigError } from '@lovage/core/transport';
import type { AwsCredentials } from './client.ts';

/**
 * Both halves of an access key, or undefined where there is neither. Throws `ConfigError` for one half alone: `where` it
 * is, and the form that is `expected` there, without secrets.
 */
export function accessKey(
  accessKeyId: string | undefined,
  secretAccessKey: string | undefined,
  { where, expected }: { readonly where: string; readonly expected: string },
): AwsCredentials | undefined {
  if (accessKeyId !== undefined && secretAccessKey !== undefined && secretAccessKey !== '') {
    return { accessKeyId, secretAccessKey };
  }
  if (accessKeyId === undefined && (secretAccessKey === undefined || secretAccessKey === '')) return undefined;
  throw new ConfigError(`${where} has one half of an access key. Expected ${expected}.`);
}
