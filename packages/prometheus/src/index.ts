export { collectMetrics, type MetricsOptions, type TaskMetrics } from './metrics.ts';
export { MetricsServer, type MetricsServerOptions } from './server.ts';
