// A new project as a newcomer makes it, at a terminal: `npx lovage init` in an empty folder, `npm run dev`, and a task that
// answers within a minute of the first keystroke. The packages are those of this workspace, packed as they would be
// published and served by a registry on this machine, which sends npm to the real one for all others.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { must, root, run } from './run.mjs';
import { clients, clientsOf, ownTree, pack } from './workspace.mjs';

const LIMIT_SECONDS = 60;
/** Then it hangs. */
const PATIENCE_MS = 300_000;

const place = realpathSync(mkdtempSync(join(tmpdir(), 'lovage-init-')));
const project = join(place, 'first-project');
mkdirSync(project);
const registry = await serve(await packAll(['lovage', 'core', 'transport-sql', 'backend-sql']));
const env = { ...process.env, npm_config_registry: registry.url, npm_config_cache: ownCache(), TERM: 'xterm-256color' };
for (const name of ['NODE_PATH', 'NO_COLOR', 'CI', 'npm_config_user_agent', 'LOVAGE_APP', 'npm_config_prefix'])
  delete env[name];
const running = [];
try {
  const began = performance.now();
  const init = terminal('npx', '--yes', 'lovage', 'init');
  await init.says('Which broker carries the messages?');
  init.type('\r');
  await init.says('Ready. Next:');
  await init.ends();
  const seconds = () => (performance.now() - began) / 1000;
  const made = seconds();
  const dev = terminal('npm', 'run', 'dev');
  await dev.says('ready: consuming');
  const call = terminal('npx', 'lovage', 'call', 'tasks.add', '-a', '[2, 2]', '--wait', '20');
  await call.says(/(?:^|\D)4$/m); // npm turns a wheel before it
  const answered = seconds();
  await call.ends();
  dev.type('\x03');
  await dev.ends([0, 130]); // npm's own, after Ctrl+C
  await must('npm', ['run', 'check'], { cwd: project, env, quiet: true });
  const allowed = clientsOf('transport-sql');
  const foreign = clients.filter((one) => !allowed.includes(one) && existsSync(join(project, 'node_modules', one)));
  if (foreign.length > 0) throw new Error(`The project brings along ${foreign.join(', ')}.`);
  console.log(`init ${made.toFixed(1)} s, the first answer after ${answered.toFixed(1)} s of ${LIMIT_SECONDS}`);
  if (answered > LIMIT_SECONDS) throw new Error(`The first answer took more than ${LIMIT_SECONDS} s.`);
} finally {
  for (const child of running) if (child.exitCode === null) child.kill('SIGKILL');
  registry.close();
  rmSync(place, { recursive: true, force: true });
}

/** A command in the project on a pseudo-terminal, as a person sees it. */
function terminal(...command) {
  const program = join(root, 'packages/cli/test/support/terminal.py');
  const child = spawn('python3', [program, '100', '30', ...command], { cwd: project, env });
  running.push(child);
  let seen = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (seen += text));
  const text = () => stripVTControlCharacters(seen).replaceAll('\r\n', '\n');
  const ended = once(child, 'close');
  const failed = () => new Error(`${command.join(' ')} ended with ${child.exitCode}:\n${text()}`);
  setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS).unref();
  return {
    type: (keys) => child.stdin.write(keys),
    says: (sign) =>
      new Promise((resolve, reject) => {
        const look = () => void ((typeof sign === 'string' ? text().includes(sign) : sign.test(text())) && resolve());
        for (const stream of [child.stdout, child.stderr]) stream.on('data', look);
        look();
        void ended.then(() => reject(failed()));
      }),
    ends: async (codes = [0]) => {
      await ended;
      if (!codes.includes(child.exitCode)) throw failed();
    },
  };
}

/** Tarballs of packages and all of the workspace that they bring along, by their names. */
async function packAll(names) {
  const packed = new Map();
  for (const one of new Set(names.flatMap(ownTree))) {
    const tarball = await pack(one, place);
    const manifest = JSON.parse(execFileSync('tar', ['xzOf', tarball, 'package/package.json'], { encoding: 'utf8' }));
    packed.set(manifest.name, { tarball, manifest });
  }
  return packed;
}

async function serve(packed) {
  const { output } = await run('npm', ['config', 'get', 'registry'], { quiet: true });
  const upstream = output.trim().replace(/\/$/, '');
  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url, 'http://localhost').pathname.slice(1));
    const tarball = [...packed.values()].find(({ tarball }) => path === `-/${basename(tarball)}`)?.tarball;
    if (tarball !== undefined) return void response.end(readFileSync(tarball));
    const found = packed.get(path);
    if (found === undefined) return void response.writeHead(302, { location: `${upstream}${request.url}` }).end();
    const { manifest } = found;
    const dist = { tarball: `http://127.0.0.1:${server.address().port}/-/${basename(found.tarball)}` };
    const { name, version } = manifest;
    response.setHeader('content-type', 'application/json');
    response.end(
      JSON.stringify({ name, 'dist-tags': { latest: version }, versions: { [version]: { ...manifest, dist } } }),
    );
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}/`,
    close: () => server.closeAllConnections() ?? server.close(),
  };
}

/** What npx has installed before does not count; what was downloaded before may. */
function ownCache() {
  const shared = join(execFileSync('npm', ['config', 'get', 'cache'], { encoding: 'utf8' }).trim(), '_cacache');
  const cache = join(place, 'cache');
  mkdirSync(cache);
  mkdirSync(shared, { recursive: true });
  symlinkSync(shared, join(cache, '_cacache'));
  return cache;
}
