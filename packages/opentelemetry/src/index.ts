export { traceTasks, type TraceOptions } from './trace-tasks.ts';
