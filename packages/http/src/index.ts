export { type HttpEndpoint, HttpLink, type HttpLinkOptions, type HttpReply, type HttpRequest } from './link.ts';
export { readTls, splitQuery, type TlsSettings } from './tls.ts';
