import { randomUUID } from 'node:crypto';
import {
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type S3Client,
} from '@aws-sdk/client-s3';
import { type AwsLink, isNamed, statusOf } from '@lovage/aws';
import { isLovageError, type StoredValue } from '@lovage/core/backend';

export interface S3Object {
  readonly value: Uint8Array;
  readonly etag: string;
}

export interface ListedObject {
  readonly key: string;
  readonly writtenAt: number;
}

/** What a write is made on: `nothing` is there, or what has this ETag. */
export type Condition = 'nothing' | { readonly etag: string };

/** The most that one request deletes. */
const MOST_DELETED = 1000;
/** Written when a server is asked whether it writes on condition. */
const PROBE = 'lovage-conditional-writes';

/** The objects of one bucket below a base path. Every call rejects with one of our errors. */
export class S3Bucket {
  readonly lost: Promise<never>;
  readonly #client: S3Client;
  readonly #link: AwsLink;
  readonly #bucket: string;
  readonly #basePath: string;

  constructor(
    client: S3Client,
    link: AwsLink,
    { bucket, basePath }: { readonly bucket: string; readonly basePath: string },
  ) {
    this.#client = client;
    this.#link = link;
    this.lost = link.lost;
    this.#bucket = bucket;
    this.#basePath = basePath;
  }

  /** undefined: there is no such object. */
  async get(key: string): Promise<S3Object | undefined> {
    try {
      return await this.#request(`Reading ${JSON.stringify(key)}`, async (abortSignal) => {
        const object = await this.#client.send(new GetObjectCommand(this.#named(key)), { abortSignal });
        // Read within the request: an answer that breaks off is asked for again.
        return { value: (await object.Body?.transformToByteArray()) ?? new Uint8Array(), etag: object.ETag ?? '' };
      });
    } catch (error) {
      if (isNamed(error, 'NoSuchKey', 'NotFound')) return undefined;
      throw error;
    }
  }

  /**
   * Writes; gives the new ETag, or undefined where the condition does not hold, which an earlier attempt of the same
   * write may be the reason of.
   */
  async put(key: string, value: StoredValue, condition?: Condition): Promise<string | undefined> {
    const command = new PutObjectCommand({
      ...this.#named(key),
      Body: value,
      ...(condition === undefined ? {} : condition === 'nothing' ? { IfNoneMatch: '*' } : { IfMatch: condition.etag }),
    });
    try {
      const { ETag } = await this.#request(`Writing ${JSON.stringify(key)}`, (abortSignal) =>
        this.#client.send(command, { abortSignal }),
      );
      return ETag ?? '';
    } catch (error) {
      if (condition !== undefined && isRefusedCondition(error)) return undefined;
      throw error;
    }
  }

  async delete(keys: readonly string[]): Promise<void> {
    const [only] = keys;
    if (only !== undefined && keys.length === 1) {
      const command = new DeleteObjectCommand(this.#named(only));
      await this.#request(`Deleting ${JSON.stringify(only)}`, (abortSignal) =>
        this.#client.send(command, { abortSignal }),
      );
      return;
    }
    for (let start = 0; start < keys.length; start += MOST_DELETED) {
      const part = keys.slice(start, start + MOST_DELETED);
      const command = new DeleteObjectsCommand({
        Bucket: this.#bucket,
        Delete: { Quiet: true, Objects: part.map((key) => ({ Key: this.#basePath + key })) },
      });
      const what = `Deleting ${part.length} objects`;
      await this.#request(what, async (abortSignal) => {
        const { Errors: [first] = [] } = await this.#client.send(command, { abortSignal });
        if (first === undefined) return;
        throw Object.assign(new Error(`${first.Key}: ${first.Message}`), {
          name: first.Code ?? 'Error',
          $metadata: { httpStatusCode: first.Code === 'InternalError' ? 500 : 400 },
        });
      });
    }
  }

  /** Leaves alone what has been written since, on servers that delete on condition. */
  async deleteVersion(key: string, etag: string): Promise<void> {
    const command = new DeleteObjectCommand({ ...this.#named(key), IfMatch: etag });
    try {
      await this.#request(`Deleting ${JSON.stringify(key)}`, (abortSignal) =>
        this.#client.send(command, { abortSignal }),
      );
    } catch (error) {
      if (!isRefusedCondition(error)) throw error;
    }
  }

  /** Page by page, in the order of the keys, without the base path. */
  async *list(prefix: string): AsyncGenerator<readonly ListedObject[]> {
    let token: string | undefined;
    do {
      const command = new ListObjectsV2Command({
        Bucket: this.#bucket,
        Prefix: this.#basePath + prefix,
        ...(token === undefined ? {} : { ContinuationToken: token }),
      });
      const page = await this.#request('Listing objects', (abortSignal) => this.#client.send(command, { abortSignal }));
      yield (page.Contents ?? []).flatMap(({ Key, LastModified }) =>
        Key === undefined
          ? []
          : [{ key: Key.slice(this.#basePath.length), writtenAt: LastModified?.getTime() ?? Date.now() }],
      );
      token = page.NextContinuationToken;
    } while (token !== undefined);
  }

  /**
   * Asks the server by writing: whoever knows no conditions takes both writes or refuses the first. Who may only read has
   * no use for the answer.
   */
  async writesOnCondition(): Promise<boolean> {
    try {
      const first = await this.put(PROBE, randomUUID(), 'nothing');
      return first === undefined || (await this.put(PROBE, randomUUID(), 'nothing')) === undefined;
    } catch (error) {
      if (isLovageError(error, 'ERR_AUTH')) return true;
      if (isLovageError(error, 'ERR_CONFIG')) return false;
      throw error;
    }
  }

  close(): void {
    this.#link.close();
    this.#client.destroy();
  }

  #named(key: string): { readonly Bucket: string; readonly Key: string } {
    return { Bucket: this.#bucket, Key: this.#basePath + key };
  }

  #request<T>(what: string, ask: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return this.#link.request(ask, { what });
  }
}

/** 412: it does not hold; 404: what was to be replaced is gone; 409: another write was under way. */
function isRefusedCondition(error: unknown): boolean {
  return (
    isNamed(error, 'PreconditionFailed', 'ConditionalRequestConflict', 'NoSuchKey') ||
    [409, 412].includes(statusOf((error as Error).cause ?? error) ?? 0)
  );
}
