import { type BackendOptions, ConfigError } from '@lovage/core/backend';
import type { ExchangeType } from '@lovage/core/transport';

const SECOND_MS = 1000;
const DAY_SECONDS = 86_400;

/** What both kinds of result messages read from the settings. */
export interface ReplySettings {
  /** How long a received state is kept in this process for a later `load`. */
  readonly keepMs: number;
  /** `x-expires` of queues; undefined: they never expire. */
  readonly queueExpiresMs: number | undefined;
  /** Celery's `result_persistent`: whether results outlive a restart of the broker. */
  readonly persistent: boolean | undefined;
  /** Celery's `result_exchange` and `result_exchange_type`: for `amqp://` only. */
  readonly exchange: string;
  readonly exchangeType: ExchangeType;
}

/** Throws `ConfigError`. */
export function readReplySettings({ settings, expiresSeconds }: BackendOptions): ReplySettings {
  const { resultPersistent, resultExchange = 'celeryresults', resultExchangeType = 'direct' } = settings;
  if (typeof resultExchange !== 'string' || resultExchange === '') {
    throw new ConfigError(
      `The setting "resultExchange" is ${JSON.stringify(resultExchange)}. Expected the name of an exchange.`,
    );
  }
  if (resultExchangeType !== 'direct' && resultExchangeType !== 'topic') {
    throw new ConfigError(
      `The setting "resultExchangeType" is ${JSON.stringify(resultExchangeType)}. Expected "direct" or "topic".`,
    );
  }
  return {
    keepMs: (expiresSeconds ?? DAY_SECONDS) * SECOND_MS,
    queueExpiresMs: expiresSeconds === undefined ? undefined : Math.max(1, Math.round(expiresSeconds * SECOND_MS)),
    persistent: typeof resultPersistent === 'boolean' ? resultPersistent : undefined,
    exchange: resultExchange,
    exchangeType: resultExchangeType,
  };
}
