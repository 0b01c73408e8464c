import type { LineProtocol } from '@lovage/core/transport';

/** One answer of beanstalkd: `RESERVED 5 12` is the word `RESERVED`, the arguments `['5', '12']`, and a body of 12 bytes. */
export interface Reply {
  readonly word: string;
  readonly args: readonly string[];
  readonly body: Buffer | undefined;
}

/** Words that a body follows, with the place of its size. Source: beanstalkd/doc/protocol.txt. */
const WITH_BODY: ReadonlyMap<string, number> = new Map([
  ['OK', 1],
  ['RESERVED', 2],
  ['FOUND', 2],
]);
/** What follows is out of step: beanstalkd reads the body of a refused command as more commands. */
const CONFUSED: ReadonlySet<string> = new Set(['BAD_FORMAT', 'UNKNOWN_COMMAND', 'EXPECTED_CRLF']);

/** A line each, some with a body. */
export const REPLIES: LineProtocol<Reply> = {
  dataBytes: (line) => {
    const words = line.split(' ');
    const place = WITH_BODY.get(words[0] as string);
    return place === undefined ? undefined : Number(words[place]);
  },
  reply: (line, body) => {
    const [word = '', ...args] = line.split(' ');
    if (!/^[A-Z_]+$/.test(word)) throw new Error('it said what is no reply of beanstalkd');
    if (CONFUSED.has(word)) throw new Error(`it did not understand a command (${word})`);
    return { word, args, body };
  },
};

/** The flat YAML of the `stats` commands. */
export function readStats(body: Buffer): ReadonlyMap<string, string> {
  const stats = new Map<string, string>();
  for (const line of body.toString('utf8').split('\n')) {
    const match = /^([\w-]+): (.*)$/.exec(line);
    if (match?.[1] !== undefined && match[2] !== undefined) stats.set(match[1], match[2].replace(/^"(.*)"$/, '$1'));
  }
  return stats;
}
