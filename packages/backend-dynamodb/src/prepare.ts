import { setTimeout as sleep } from 'node:timers/promises';
import {
  CreateTableCommand,
  DescribeTableCommand,
  DescribeTimeToLiveCommand,
  UpdateTimeToLiveCommand,
} from '@aws-sdk/client-dynamodb';
import { isNamed, reach } from '@lovage/aws';
import { ConfigError, isLovageError, type Logger, TimeoutError } from '@lovage/core/backend';
import { KEY, TTL } from './layout.ts';
import type { DynamoSettings } from './options.ts';
import { DYNAMODB } from './service.ts';
import type { Table } from './table.ts';

/** A table that is being made is looked at so often, and for so long. Amazon takes some ten seconds to make one. */
const LOOK_MS = 200;
const MAKING_MS = 120_000;

export interface PrepareOptions {
  /** Where the table is, for errors. */
  readonly where: string;
  readonly signal: AbortSignal;
  readonly logger: Logger;
  /** Whether what is going to be written has an end. */
  readonly expires: boolean;
}

export interface PreparedTable {
  /** Resolves when the table can be used. */
  readonly ready: Promise<void>;
  /**
   * Resolves when nothing of it is left to do, with whether DynamoDB removes by itself what has expired. It rejects where
   * `ready` does, and goes on where nobody waits for `ready` any more: a table whose making takes longer than its opening
   * gets its time to live as well.
   */
  readonly removesExpired: Promise<boolean>;
}

/**
 * Finds the table, or makes it, and sets its time to live as the URL asks for it.
 * Source: celery/backends/dynamodb.py, _get_or_create_table and _set_table_ttl.
 */
export function prepareTable(table: Table, settings: DynamoSettings, options: PrepareOptions): PreparedTable {
  const { ttlSeconds } = settings;
  const { logger, expires } = options;
  const given = ttlSeconds === undefined ? undefined : ttlSeconds !== 'never';
  const set = async (wanted: boolean | undefined, mayFail: boolean): Promise<boolean> => {
    try {
      return await setTimeToLive(table, wanted);
    } catch (error) {
      if (!mayFail && !isLovageError(error, 'ERR_AUTH')) throw error;
      logger.warn({ err: error, table: table.name }, 'the time to live of the table of results cannot be seen or set');
      return false;
    }
  };
  const found = findTable(table, settings, options);
  const active = found.then(async (isNew) => {
    if (isNew) await untilActive(table);
    return isNew;
  });
  // A table that was there is left as it is, unless the URL says something of it.
  const present = active.then((isNew) => (isNew ? undefined : set(given, given === undefined)));
  const removesExpired = present.then(
    // Nothing has expired yet in a new one: its opening does not wait.
    (isOn) => isOn ?? set(given ?? (expires ? true : undefined), true),
  );
  removesExpired.catch(() => undefined);
  return { ready: present.then(() => undefined), removesExpired };
}

/** True: it is new, made here or by another process at this moment, and may not be ready for use. */
async function findTable(
  table: Table,
  { capacity, connectTimeoutMs }: DynamoSettings,
  { where, signal }: PrepareOptions,
): Promise<boolean> {
  const { client, name } = table;
  try {
    const options = { service: DYNAMODB, where, timeoutMs: connectTimeoutMs, signal };
    const describe = new DescribeTableCommand({ TableName: name });
    const answer = await reach((abortSignal) => client.send(describe, { abortSignal }), options);
    // Who may not describe it has one that is there.
    return answer !== undefined && !isUsable(answer.Table?.TableStatus);
  } catch (error) {
    if (!isLovageError(error, 'ERR_NOT_FOUND')) throw error;
    await create(table, capacity);
    return true;
  }
}

function isUsable(status: string | undefined): boolean {
  return status === 'ACTIVE' || status === 'UPDATING';
}

async function untilActive(table: Table): Promise<void> {
  const { client, name } = table;
  const describe = new DescribeTableCommand({ TableName: name });
  for (const until = Date.now() + MAKING_MS; ; await sleep(LOOK_MS)) {
    const { Table: found } = await table.request(`Waiting for the table "${name}"`, (abortSignal) =>
      client.send(describe, { abortSignal }),
    );
    if (isUsable(found?.TableStatus)) return;
    if (Date.now() > until) {
      throw new TimeoutError(
        `The table "${name}" was not made within ${MAKING_MS} ms. Look at it in the console of AWS.`,
      );
    }
  }
}

/** Unless another process is first. */
async function create(table: Table, capacity: DynamoSettings['capacity']): Promise<void> {
  const { client, name } = table;
  const command = new CreateTableCommand({
    TableName: name,
    AttributeDefinitions: [{ AttributeName: KEY, AttributeType: 'S' }],
    KeySchema: [{ AttributeName: KEY, KeyType: 'HASH' }],
    ...(capacity === undefined
      ? { BillingMode: 'PAY_PER_REQUEST' }
      : { ProvisionedThroughput: { ReadCapacityUnits: capacity.read, WriteCapacityUnits: capacity.write } }),
  });
  try {
    await table.request(`Making the table "${name}"`, (abortSignal) => client.send(command, { abortSignal }));
  } catch (error) {
    if (!isNamed(error, 'ResourceInUseException')) throw error;
  }
}

/** `wanted` undefined: as it is. True where what has expired is removed. */
async function setTimeToLive(table: Table, wanted: boolean | undefined): Promise<boolean> {
  const { attribute, isOn } = await timeToLive(table);
  if (wanted === undefined || wanted === isOn) {
    if (wanted === true && attribute !== TTL) {
      throw new ConfigError(
        `The time to live of the table "${table.name}" is by the attribute "${attribute}". Expected "${TTL}": turn it off there, or leave "ttl_seconds" out of the URL.`,
      );
    }
    return isOn && attribute === TTL;
  }
  const command = new UpdateTimeToLiveCommand({
    TableName: table.name,
    TimeToLiveSpecification: { Enabled: wanted, AttributeName: wanted ? TTL : (attribute ?? TTL) },
  });
  try {
    await table.request(`Setting the time to live of the table "${table.name}"`, (abortSignal) =>
      table.client.send(command, { abortSignal }),
    );
  } catch (error) {
    // Another process has done so at the same moment.
    if (!isNamed(error, 'ValidationException') || (await timeToLive(table)).isOn !== wanted) throw error;
  }
  return wanted;
}

async function timeToLive(table: Table): Promise<{ readonly attribute: string | undefined; readonly isOn: boolean }> {
  const command = new DescribeTimeToLiveCommand({ TableName: table.name });
  const { TimeToLiveDescription: found } = await table.request(
    `Asking for the time to live of the table "${table.name}"`,
    (abortSignal) => table.client.send(command, { abortSignal }),
  );
  const status = found?.TimeToLiveStatus;
  return { attribute: found?.AttributeName, isOn: status === 'ENABLED' || status === 'ENABLING' };
}
