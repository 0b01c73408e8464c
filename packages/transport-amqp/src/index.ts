export type { AmqpTransportOptions } from './options.ts';
export { amqpTransport } from './transport.ts';
