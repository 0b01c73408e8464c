import { execFileSync } from 'node:child_process';
import { chownSync, existsSync, mkdtempSync, readdirSync, readlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { debianProgram, ordinaryUser } from '../provide.mjs';
import { freePort, server } from '../server-process.mjs';

/** Debian keeps the programs of the server out of the PATH, one folder per version. */
function programs() {
  const versions = '/usr/lib/postgresql';
  const found = existsSync(versions) ? readdirSync(versions).sort((a, b) => Number(b) - Number(a)) : [];
  return found.map((version) => join(versions, version, 'bin')).find((bin) => existsSync(join(bin, 'initdb')));
}

async function start() {
  if (programs() === undefined) await debianProgram('initdb', 'postgresql');
  const bin = programs();
  const program = (name) => (bin === undefined ? name : join(bin, name));
  // The server refuses to run as root.
  const user = ordinaryUser(['postgres', 'nobody']);
  const port = await freePort();
  const dir = mkdtempSync(join(tmpdir(), 'lovage-postgresql-'));
  if (user.uid !== undefined) chownSync(dir, user.uid, user.gid);
  const data = join(dir, 'data');
  const initialise = ['-D', data, '-U', 'lovage', '--auth=trust', '--encoding=UTF8', '--locale=C', '--no-sync'];
  execFileSync(program('initdb'), initialise, { ...user, cwd: dir, stdio: 'ignore' });
  // A commit is handed to the kernel, which outlives every kill of these tests; no disk is waited for.
  const settings = ['listen_addresses=127.0.0.1', `unix_socket_directories=${dir}`, 'max_connections=200', 'fsync=off'];
  const running = await server(
    program('postgres'),
    ['-D', data, '-p', String(port), ...settings.flatMap((setting) => ['-c', setting])],
    {
      ...user,
      dir,
      port,
      url: `postgresql://lovage:secret@127.0.0.1:${port}/lovage`,
      beforeStart: () => untilGone(data),
    },
  );
  const administer = ['-h', '127.0.0.1', '-p', String(port), '-U', 'lovage', '--maintenance-db=postgres', 'lovage'];
  for (let attempt = 0; ; attempt++) {
    try {
      execFileSync(program('createdb'), administer, { ...user, cwd: dir, stdio: 'pipe' });
      return running;
    } catch (error) {
      // The port answers a little before the server lets anybody in.
      if (attempt < 300 && /starting up/.test(String(error.stderr))) await sleep(100);
      else {
        await running.stop();
        throw error;
      }
    }
  }
}

/** After the server was killed its children end by themselves; a new one does not start before. */
async function untilGone(data) {
  const isThere = (pid) => {
    try {
      return readlinkSync(`/proc/${pid}/cwd`) === data;
    } catch {
      return false;
    }
  };
  while (existsSync('/proc') && readdirSync('/proc').some((pid) => /^\d+$/.test(pid) && isThere(pid))) await sleep(20);
}

export default { postgresql: { variable: 'LOVAGE_TEST_POSTGRESQL_URL', start } };
