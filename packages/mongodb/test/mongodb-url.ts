import { serviceUrl } from '../../conformance/test/service-url.ts';

/** A database of the MongoDB that the tests have. */
export function mongodbUrl(database: string): string | undefined {
  // A member of a replica set is reached by itself, through whatever link, without asking it for the others.
  return serviceUrl('mongodb')?.replace(
    /^(mongodb:\/\/[^/]*)(\/[^?]*)?(\?.*)?$/,
    `$1/${database}?directConnection=true`,
  );
}
