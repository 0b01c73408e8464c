export {
  type Change,
  type CouchDatabase,
  type CouchDocument,
  openCouchDatabase,
  type OpenCouchOptions,
  type Row,
  type WriteOutcome,
  type Written,
} from './database.ts';
export { type CouchEndpoint, readCouchEndpoint, SCHEMES } from './endpoint.ts';
