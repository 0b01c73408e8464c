import { BrokerBlockedError, ConfigError, isLovageError, LovageError } from '@lovage/core/transport';

export function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException | null)?.code;
}

/** No such file or folder: most often somebody else was faster. */
export function isGone(error: unknown): boolean {
  return codeOf(error) === 'ENOENT';
}

/** A failure of the file system as one of our errors. */
export function toLovageError(error: unknown, what: string): LovageError {
  if (isLovageError(error)) return error;
  const code = codeOf(error);
  const cause = { cause: error };
  switch (code) {
    case 'ENOSPC':
    case 'EDQUOT':
      return new BrokerBlockedError(`${what}: there is no space left (${code}).`, cause);
    case 'EMFILE':
    case 'ENFILE':
    case 'EAGAIN':
    case 'EBUSY':
    case 'EIO':
    case 'ESTALE':
      return new BrokerBlockedError(`${what}: the file system cannot do it now (${code}).`, cause);
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return new ConfigError(
        `${what}: this user may not write there (${code}). Change the owner or the folder.`,
        cause,
      );
    case 'ENOTDIR':
    case 'EEXIST':
      return new ConfigError(`${what}: there is a file where a folder is expected (${code}).`, cause);
    case undefined:
    default:
      return new LovageError('ERR_PUBLISH', `${what}: ${(error as Error).message}.`, cause);
  }
}
