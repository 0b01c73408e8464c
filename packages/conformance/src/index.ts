export type { BackendConformanceOptions } from './backend/index.ts';
export { backendConformance, backendTestNames } from './backend/index.ts';
export type { FaultyLink, FaultyLinkTarget, LinkDirection } from './faulty-link.ts';
export { openFaultyLink } from './faulty-link.ts';
export type { TestFunction } from './suite.ts';
export type { TransportConformanceOptions } from './transport/index.ts';
export { transportConformance, transportTestNames } from './transport/index.ts';
export type { UpstreamOptions } from './upstream.ts';
