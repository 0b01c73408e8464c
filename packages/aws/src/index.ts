export { accessKey } from './access-key.ts';
export {
  type AwsCredentials,
  clientSettings,
  type ClientOptions,
  reach,
  type ReachOptions,
  regionOf,
} from './client.ts';
export { readEndpointUrl } from './endpoint.ts';
export { type AwsService, isNamed, statusOf, unlessLost } from './errors.ts';
export { AwsLink, type AwsLinkOptions, type RequestOptions } from './link.ts';
