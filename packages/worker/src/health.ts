import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Worker } from './worker.ts';

/** Where a {@link HealthServer} listens. */
export interface HealthOptions {
  /** 0: any free one. */
  readonly port: number;
  /** Default: all addresses, because probes come from elsewhere. */
  readonly host?: string;
  /** A task that blocks the event loop for longer makes the worker unhealthy. Default 30 seconds. */
  readonly staleAfterSeconds?: number;
}

/** What the probes answer, as JSON. */
export interface HealthReport {
  readonly node: string;
  readonly state: string;
  readonly connected: boolean;
  readonly active: number;
  readonly processed: number;
  readonly queues: readonly string[];
  /** Seconds since the event loop last came round. */
  readonly lag: number;
}

const LOOK_MS = 1000;

/**
 * Answers probes over HTTP, for Kubernetes and load balancers: `/livez` (also `/healthz`) is 200 while the worker's event
 * loop comes round, `/readyz` is 200 while it is connected and takes messages; else 503. A worker that cannot reach its
 * broker is alive and not ready: a restart would not help it.
 */
export class HealthServer {
  readonly #worker: Worker;
  readonly #server: Server;
  readonly #staleMs: number;
  #lastLook = performance.now();
  #timer: NodeJS.Timeout | undefined;

  constructor(worker: Worker, { staleAfterSeconds = 30 }: Pick<HealthOptions, 'staleAfterSeconds'> = {}) {
    this.#worker = worker;
    this.#staleMs = staleAfterSeconds * 1000;
    this.#server = createServer((request, response) => {
      const path = (request.url ?? '/').split('?', 1)[0];
      const report = this.report();
      const isRight =
        path === '/readyz'
          ? report.connected && report.state === 'running'
          : path === '/livez' || path === '/healthz'
            ? report.lag * 1000 < this.#staleMs && report.state !== 'closed'
            : undefined;
      response.statusCode = isRight === undefined ? 404 : isRight ? 200 : 503;
      response.setHeader('content-type', 'application/json');
      response.setHeader('cache-control', 'no-store');
      response.end(`${JSON.stringify(isRight === undefined ? { paths: ['/livez', '/readyz'] } : report)}\n`);
    });
    // A probe that hangs must not keep the worker.
    this.#server.headersTimeout = 5000;
    this.#server.requestTimeout = 5000;
  }

  report(): HealthReport {
    const worker = this.#worker;
    return {
      node: worker.nodeName,
      state: worker.state,
      connected: worker.isConnected,
      active: worker.pool.busy,
      processed: worker.processed,
      queues: worker.queueNames,
      lag: Math.max(0, performance.now() - this.#lastLook - LOOK_MS) / 1000,
    };
  }

  /** The port. Rejects when it is taken. */
  listen({ port, host }: HealthOptions): Promise<number> {
    this.#timer = setInterval(() => {
      this.#lastLook = performance.now();
    }, LOOK_MS).unref();
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen({ port, ...(host === undefined ? {} : { host }) }, () => {
        this.#server.unref();
        resolve((this.#server.address() as AddressInfo).port);
      });
    });
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}
