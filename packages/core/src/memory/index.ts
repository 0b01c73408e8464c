export { memoryBackend } from './memory-backend.ts';
export { cutMemoryLinks } from './memory-broker.ts';
export { memoryTransport, openMemoryDriver, type MemoryTransportOptions } from './memory-transport.ts';
