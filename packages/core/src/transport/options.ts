export * from './option-readers.ts';
export * from './tls-options.ts';
