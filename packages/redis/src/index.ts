export { type Deferred, deferred } from './deferred.ts';
export {
  BACKEND_SCHEMES,
  CONNECTION_OPTIONS,
  type EndpointSettings,
  type HostAndPort,
  readEndpoint,
  type RedisConnectionOptions,
  type RedisEndpoint,
  type SentinelAddress,
  TRANSPORT_SCHEMES,
} from './endpoint.ts';
export { replyCode, toLovageError } from './errors.ts';
export { type MessageListener, type OpenOptions, openRedis, type RedisLink, type Reply } from './link.ts';
export { RedisScript } from './script.ts';
