import { setTimeout as sleep } from 'node:timers/promises';
import {
  CreateTableCommand,
  DescribeTableCommand,
  DescribeTimeToLiveCommand,
  UpdateTimeToLiveCommand,
} from '@aws-sdk/client-dynamodb';
import { isNamed, reach } from '@lovage/aws';
import { ConfigError, isLovageError, type Logger } from '@lovage/core/backend';
import { KEY, TTL } from './layout.ts';
import type { DynamoSettings } from './options.ts';
import { DYNAMODB } from './service.ts';
import type { Table } from './table.ts';

/** A table that is being made is looked at so often. */
const LOOK_MS = 200;

export interface PrepareOptions {
  /** Where the table is, for errors. */
  readonly where: string;
  readonly signal: AbortSignal;
  readonly logger: Logger;
  /** Whether what is going to be written has an end. */
  readonly expires: boolean;
}

/**
 * Finds the table, or makes it, and sets its time to live as the URL asks for it. True where DynamoDB removes by itself
 * what has expired. Source: celery/backends/dynamodb.py, _get_or_create_table and _set_table_ttl.
 */
export async function prepareTable(
  table: Table,
  settings: DynamoSettings,
  { where, signal, logger, expires }: PrepareOptions,
): Promise<boolean> {
  const { ttlSeconds, connectTimeoutMs, capacity } = settings;
  const isNew = await ensureTable(table, capacity, { where, signal, connectTimeoutMs });
  const given = ttlSeconds === undefined ? undefined : ttlSeconds !== 'never';
  // A table that was there is left as it is, unless the URL says something of it.
  const wanted = given ?? (isNew && expires ? true : undefined);
  try {
    return await setTimeToLive(table, wanted);
  } catch (error) {
    if (given !== undefined && !isLovageError(error, 'ERR_AUTH')) throw error;
    logger.warn({ err: error, table: table.name }, 'the time to live of the table of results cannot be seen or set');
    return false;
  }
}

/** True: it was made here. Resolves when it can be used. */
async function ensureTable(
  table: Table,
  capacity: DynamoSettings['capacity'],
  { where, signal, connectTimeoutMs }: { where: string; signal: AbortSignal; connectTimeoutMs: number },
): Promise<boolean> {
  const { client, name } = table;
  const describe = new DescribeTableCommand({ TableName: name });
  let isNew = false;
  let status: string | undefined;
  try {
    const options = { service: DYNAMODB, where, timeoutMs: connectTimeoutMs, signal };
    const answer = await reach((abortSignal) => client.send(describe, { abortSignal }), options);
    // Who may not describe it has one that is there.
    status = answer === undefined ? 'ACTIVE' : answer.Table?.TableStatus;
  } catch (error) {
    if (!isLovageError(error, 'ERR_NOT_FOUND')) throw error;
    isNew = await create(table, capacity);
  }
  while (status !== 'ACTIVE' && status !== 'UPDATING') {
    if (status !== undefined) await sleep(LOOK_MS, undefined, { signal });
    const { Table: found } = await table.request(`Waiting for the table "${name}"`, (abortSignal) =>
      client.send(describe, { abortSignal }),
    );
    status = found?.TableStatus ?? 'CREATING';
  }
  return isNew;
}

/** False: another process was first. */
async function create(table: Table, capacity: DynamoSettings['capacity']): Promise<boolean> {
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
    return true;
  } catch (error) {
    if (isNamed(error, 'ResourceInUseException')) return false;
    throw error;
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
