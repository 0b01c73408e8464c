export { AwaitCursor, CursorEndedError } from './await-cursor.ts';
export {
  EXPECTED_URL,
  type EndpointSettings,
  MONGODB_SCHEMES,
  type MongoEndpoint,
  readMongoEndpoint,
} from './endpoint.ts';
export { serverCode } from './errors.ts';
export { openMongo, type MongoLink, type OpenOptions, SURE } from './link.ts';
