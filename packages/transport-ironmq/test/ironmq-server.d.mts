export interface Fault {
  /** A regular expression for `POST /3/projects/...`. */
  readonly match: string;
  times: number;
  /**
   * `status`: nothing is done, and this is the answer. `statusAfter`: the same after it was done. `cutBefore`, `cutAfter`:
   * the connection breaks before, or in the middle of the answer. `slow`: everything as usual, late.
   */
  readonly kind: 'status' | 'statusAfter' | 'cutBefore' | 'cutAfter' | 'slow';
  readonly status?: number;
  /** Seconds. */
  readonly retryAfter?: number;
  readonly ms?: number;
}

export interface IronMqServer {
  listen(port?: number): Promise<number>;
  expire(queue: string): void;
  double(queue: string): void;
  fault(...faults: Fault[]): void;
  close(): Promise<void>;
}

export function createIronMq(options: {
  readonly project: string;
  readonly token: string;
  readonly minTimeoutS?: number;
  /** Of one request; 262144 by default, as in IronMQ's larger plans. */
  readonly maxBodyBytes?: number;
}): IronMqServer;
