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

/** A file of its own for each node: `%n` is its name, `%d` its host, `%h` both. Source: celery/utils/nodenames.py. */
export function expandFileName(file: string, nodeName: string): string {
  const [name = '', host = ''] = nodeName.split('@');
  const parts: Readonly<Record<string, string>> = { n: name, d: host, h: nodeName, i: '', I: '', '%': '%' };
  return file.replace(/%([hndiI%])/g, (_, letter: string) => parts[letter] as string);
}
