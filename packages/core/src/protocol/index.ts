export type { SignatureDict } from '../canvas/signature-dict.ts';
export type * from './task-message.ts';
export type * from './task-meta.ts';
