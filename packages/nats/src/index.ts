export {
  CONNECTION_OPTIONS,
  type HostAndPort,
  type NatsConnectionOptions,
  type NatsEndpoint,
  readEndpoint,
  SCHEMES,
} from './endpoint.ts';
export { apiCode, type ApiFailure, fromApiFailure, JETSTREAM_CODES, toLovageError } from './errors.ts';
export { apiPrefix, NatsLink, openLink, type Question } from './link.ts';
export { resourceName, subjectToken } from './names.ts';
export { isAtLeast } from './version.ts';
export { Window } from './window.ts';
