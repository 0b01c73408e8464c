import { setTimeout as sleep } from 'node:timers/promises';
import {
  type AttributeValue,
  BatchGetItemCommand,
  BatchWriteItemCommand,
  DeleteItemCommand,
  type DynamoDBClient,
  GetItemCommand,
  PutItemCommand,
  ScanCommand,
  UpdateItemCommand,
} from '@aws-sdk/client-dynamodb';
import { type AwsLink, isNamed } from '@lovage/aws';
import { inParallel } from '@lovage/core/backend';
import { KEY } from './layout.ts';

export type Item = Readonly<Record<string, AttributeValue>>;

/** An expression with what its names and values stand for. */
export interface Expression {
  readonly expression: string;
  readonly names?: Readonly<Record<string, string>>;
  readonly values?: Item;
}

const MOST_READ = 100;
const MOST_WRITTEN = 25;
const BACK_OFF_MS = 50;

/** The items of one table. Every call rejects with one of our errors. */
export class Table {
  readonly lost: Promise<never>;
  readonly name: string;
  readonly client: DynamoDBClient;
  readonly #link: AwsLink;

  constructor(client: DynamoDBClient, link: AwsLink, name: string) {
    this.client = client;
    this.#link = link;
    this.lost = link.lost;
    this.name = name;
  }

  request<T>(what: string, ask: (abortSignal: AbortSignal) => Promise<T>): Promise<T> {
    return this.#link.request(ask, { what });
  }

  /** By key; what was written before is seen. */
  async get(keys: readonly string[]): Promise<ReadonlyMap<string, Item>> {
    const found = new Map<string, Item>();
    await inParallel(partsOf([...new Set(keys)], MOST_READ), async (part) => {
      let left: Item[] = part.map((key) => ({ [KEY]: { S: key } }));
      for (let attempt = 0; left.length > 0; attempt++) {
        const command = new BatchGetItemCommand({
          RequestItems: { [this.name]: { Keys: left, ConsistentRead: true } },
        });
        const { Responses, UnprocessedKeys } = await this.request(`Reading ${left.length} items`, (abortSignal) =>
          this.client.send(command, { abortSignal }),
        );
        for (const item of Responses?.[this.name] ?? []) found.set(item[KEY]?.S ?? '', item);
        left = UnprocessedKeys?.[this.name]?.Keys ?? [];
        if (left.length > 0) await this.#backOff(attempt);
      }
    });
    return found;
  }

  async delete(keys: readonly string[]): Promise<void> {
    await inParallel(partsOf([...new Set(keys)], MOST_WRITTEN), async (part) => {
      let left = part.map((key) => ({ DeleteRequest: { Key: { [KEY]: { S: key } } } }));
      for (let attempt = 0; left.length > 0; attempt++) {
        const command = new BatchWriteItemCommand({ RequestItems: { [this.name]: left } });
        const { UnprocessedItems } = await this.request(`Deleting ${left.length} items`, (abortSignal) =>
          this.client.send(command, { abortSignal }),
        );
        left = (UnprocessedItems?.[this.name] ?? []) as typeof left;
        if (left.length > 0) await this.#backOff(attempt);
      }
    });
  }

  /**
   * Writes a whole item. Where the condition does not hold, gives the item that is there (undefined: none), which may be
   * this one, from an attempt whose answer was lost.
   */
  async put(item: Item, condition?: Expression): Promise<'written' | { readonly present: Item | undefined }> {
    const command = new PutItemCommand({
      TableName: this.name,
      Item: item,
      ...(condition === undefined
        ? {}
        : { ConditionExpression: condition.expression, ReturnValuesOnConditionCheckFailure: 'ALL_OLD' }),
      ...meanings(condition),
    });
    try {
      await this.request('Writing an item', (abortSignal) => this.client.send(command, { abortSignal }));
      return 'written';
    } catch (error) {
      return { present: await this.#present(error, item[KEY]?.S ?? '') };
    }
  }

  /** Changes an item, or makes it. Gives it as it is then, or, where the condition does not hold, as it stays. */
  async update(
    key: string,
    change: Expression,
    condition?: string,
  ): Promise<{ readonly item: Item | undefined; readonly isChanged: boolean }> {
    const command = new UpdateItemCommand({
      TableName: this.name,
      Key: { [KEY]: { S: key } },
      UpdateExpression: change.expression,
      ...(condition === undefined
        ? {}
        : { ConditionExpression: condition, ReturnValuesOnConditionCheckFailure: 'ALL_OLD' }),
      ReturnValues: 'ALL_NEW',
      ...meanings(change),
    });
    try {
      const { Attributes } = await this.request('Changing an item', (abortSignal) =>
        this.client.send(command, { abortSignal }),
      );
      return { item: Attributes, isChanged: true };
    } catch (error) {
      return { item: await this.#present(error, key), isChanged: false };
    }
  }

  /** Deletes one item, where the condition holds. */
  async deleteIf(key: string, condition: Expression): Promise<void> {
    const command = new DeleteItemCommand({
      TableName: this.name,
      Key: { [KEY]: { S: key } },
      ConditionExpression: condition.expression,
      ...meanings(condition),
    });
    try {
      await this.request('Deleting an item', (abortSignal) => this.client.send(command, { abortSignal }));
    } catch (error) {
      if (!isNamed(error, 'ConditionalCheckFailedException')) throw error;
    }
  }

  /** Keys of all items that a filter lets through, page by page. Reads the whole table. */
  async *scan(filter: Expression): AsyncGenerator<readonly string[]> {
    let start: Item | undefined;
    do {
      const command = new ScanCommand({
        TableName: this.name,
        FilterExpression: filter.expression,
        ProjectionExpression: KEY,
        ...meanings(filter),
        ...(start === undefined ? {} : { ExclusiveStartKey: start }),
      });
      const page = await this.request(`Looking through the table "${this.name}"`, (abortSignal) =>
        this.client.send(command, { abortSignal }),
      );
      yield (page.Items ?? []).flatMap((item) => (item[KEY]?.S === undefined ? [] : [item[KEY].S]));
      start = page.LastEvaluatedKey;
    } while (start !== undefined);
  }

  close(): void {
    this.#link.close();
    this.client.destroy();
  }

  /** What an error says, or the table, when a condition did not hold; throws any other error. */
  async #present(error: unknown, key: string): Promise<Item | undefined> {
    if (!isNamed(error, 'ConditionalCheckFailedException')) throw error;
    const { Item: present } = (error as { readonly cause: { readonly Item?: Item } }).cause;
    if (present !== undefined) return present;
    // Servers of before 2023 do not say, and nobody says of nothing.
    const command = new GetItemCommand({ TableName: this.name, Key: { [KEY]: { S: key } }, ConsistentRead: true });
    const { Item: read } = await this.request('Reading an item', (abortSignal) =>
      this.client.send(command, { abortSignal }),
    );
    return read;
  }

  /** What a busy table left undone is asked for again, as long as the call may take. */
  async #backOff(attempt: number): Promise<void> {
    await sleep(Math.min(2000, BACK_OFF_MS * 2 ** attempt) * (0.5 + Math.random() / 2));
  }
}

/** The fields of a request that say what an expression's names and values stand for. */
function meanings(expression: Expression | undefined): {
  readonly ExpressionAttributeNames?: Record<string, string>;
  readonly ExpressionAttributeValues?: Record<string, AttributeValue>;
} {
  const { names, values } = expression ?? {};
  return {
    ...(names === undefined ? {} : { ExpressionAttributeNames: { ...names } }),
    ...(values === undefined ? {} : { ExpressionAttributeValues: { ...values } }),
  };
}

function partsOf<T>(items: readonly T[], most: number): readonly (readonly T[])[] {
  const parts: (readonly T[])[] = [];
  for (let start = 0; start < items.length; start += most) parts.push(items.slice(start, start + most));
  return parts;
}
