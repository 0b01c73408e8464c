export { type HttpEndpoint, HttpLink, type HttpLinkOptions, type HttpReply, type HttpRequest } from './link.ts';
export { type HttpOpenOptions, openHttpLink } from './open.ts';
