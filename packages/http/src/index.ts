export { type HttpEndpoint, HttpLink, type HttpLinkOptions, type HttpReply, type HttpRequest } from './link.ts';
