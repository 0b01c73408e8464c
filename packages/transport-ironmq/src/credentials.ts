import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { ConfigError } from '@lovage/core/transport';

/** What Iron.io's clients look for beside a URL. */
export interface IronCredentials {
  readonly projectId?: string;
  readonly token?: string;
  readonly host?: string;
  readonly port?: string;
  readonly protocol?: string;
}

const KEYS = { projectId: 'project_id', token: 'token', host: 'host', port: 'port', protocol: 'protocol' } as const;

/**
 * Credentials from where Iron.io's own clients find them; later places win: `~/.iron.json`, the environment's `IRON_...`,
 * its `IRON_MQ_...`, and `iron.json` in the working directory. In a file, the section `iron_mq` wins over the rest.
 * Source: dev.iron.io, "Configuring the Official Client Libraries".
 */
export function findCredentials(
  env: Readonly<Record<string, string | undefined>> = process.env,
  folders: { readonly home: string; readonly work: string } = { home: homedir(), work: process.cwd() },
): IronCredentials {
  return {
    ...fromFile(join(folders.home, '.iron.json')),
    ...pick((key) => env[`IRON_${key.toUpperCase()}`]),
    ...pick((key) => env[`IRON_MQ_${key.toUpperCase()}`]),
    ...fromFile(join(folders.work, 'iron.json')),
  };
}

function fromFile(path: string): IronCredentials {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    return {};
  }
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch {
    // Not the parser's words: they quote the text, and with it the token.
    throw new ConfigError(`The file ${JSON.stringify(path)} with credentials of IronMQ is no JSON. Mend or remove it.`);
  }
  const { iron_mq: section, ...general } = record(content);
  return { ...pick((key) => general[key]), ...pick((key) => record(section)[key]) };
}

function pick(find: (key: string) => unknown): IronCredentials {
  return Object.fromEntries(
    Object.entries(KEYS).flatMap(([name, key]) => {
      const value = find(key);
      return typeof value === 'string' || typeof value === 'number' ? [[name, String(value)]] : [];
    }),
  );
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
}
