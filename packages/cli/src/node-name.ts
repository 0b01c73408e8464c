import { hostname } from 'node:os';

/**
 * A worker's node name: `name@host`. `%h` is the host with its domain, `%n` the host alone, `%d` the domain; a name
 * without `@` gets the host. Source: celery/utils/nodenames.py, host_format.
 */
export function expandNodeName(given: string | undefined, host: string = hostname()): string {
  const [name = '', ...domain] = host.split('.');
  const expanded = (given ?? 'celery@%h').replace(/%([hndiI%])/g, (_, letter: string) => {
    switch (letter) {
      case 'h':
        return host;
      case 'n':
        return name;
      case 'd':
        return domain.join('.');
      case 'i':
      case 'I':
        return ''; // the parent process has no index
      default:
        return '%';
    }
  });
  return expanded.includes('@') ? expanded : `${expanded}@${host}`;
}
