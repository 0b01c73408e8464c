import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Lovage } from '@lovage/core';
import { collectDefaultMetrics, Registry } from 'prom-client';
import { collectMetrics, type MeasuredWorker, type TaskMetrics } from './metrics.ts';

export interface MetricsServerOptions {
  readonly app: Lovage;
  readonly worker?: MeasuredWorker;
  /** 0: any free one. */
  readonly port: number;
  /** Default: all addresses, because Prometheus comes from elsewhere. */
  readonly host?: string;
  /** Node's own metrics too: memory, event loop, garbage. Default true. */
  readonly processMetrics?: boolean;
}

/** Serves the metrics of a process at `/metrics`: what `lovage worker --metrics-port` does. */
export class MetricsServer {
  readonly registry: Registry = new Registry();
  readonly #options: MetricsServerOptions;
  readonly #metrics: TaskMetrics;
  readonly #server: Server;

  constructor(options: MetricsServerOptions) {
    this.#options = options;
    const { app, worker, processMetrics = true } = options;
    if (processMetrics) collectDefaultMetrics({ register: this.registry });
    this.#metrics = collectMetrics(app, { registry: this.registry, ...(worker === undefined ? {} : { worker }) });
    this.#server = createServer((request, response) => {
      if ((request.url ?? '').split('?', 1)[0] !== '/metrics') {
        response.statusCode = 404;
        response.end('The metrics are at /metrics\n');
        return;
      }
      this.registry.metrics().then(
        (text) => {
          response.setHeader('content-type', this.registry.contentType);
          response.end(text);
        },
        (error: unknown) => {
          app.logger.error({ err: error }, 'The metrics could not be collected.');
          response.statusCode = 500;
          response.end();
        },
      );
    });
    this.#server.headersTimeout = 5000;
    this.#server.requestTimeout = 5000;
  }

  /** The port. Rejects when it is taken. */
  listen(): Promise<number> {
    const { port, host } = this.#options;
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen({ port, ...(host === undefined ? {} : { host }) }, () => {
        this.#server.unref();
        resolve((this.#server.address() as AddressInfo).port);
      });
    });
  }

  async close(): Promise<void> {
    this.#metrics.stop();
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}
