import { execFileSync } from 'node:child_process';
import { chownSync, existsSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { debianProgram, ordinaryUser } from '../provide.mjs';
import { freePort, server } from '../server-process.mjs';

async function start() {
  const program = existsSync('/usr/sbin/mariadbd')
    ? '/usr/sbin/mariadbd'
    : await debianProgram('mariadbd', 'mariadb-server');
  const user = ordinaryUser(['mysql', 'nobody']);
  const port = await freePort();
  const dir = mkdtempSync(join(tmpdir(), 'lovage-mariadb-'));
  if (user.uid !== undefined) chownSync(dir, user.uid, user.gid);
  const data = join(dir, 'data');
  const initialise = [
    '--no-defaults',
    `--datadir=${data}`,
    '--auth-root-authentication-method=normal',
    '--skip-test-db',
  ];
  execFileSync('mariadb-install-db', initialise, { ...user, cwd: dir, stdio: 'ignore' });
  const init = join(dir, 'init.sql');
  writeFileSync(
    init,
    [
      'CREATE DATABASE IF NOT EXISTS lovage CHARACTER SET utf8mb4;',
      "CREATE USER IF NOT EXISTS 'lovage'@'%' IDENTIFIED BY 'secret';",
      "GRANT ALL ON lovage.* TO 'lovage'@'%';",
      '',
    ].join('\n'),
  );
  const args = [
    '--no-defaults',
    `--datadir=${data}`,
    `--socket=${join(dir, 'mariadb.sock')}`,
    `--pid-file=${join(dir, 'mariadb.pid')}`,
    `--init-file=${init}`,
    `--port=${port}`,
    '--bind-address=127.0.0.1',
    '--skip-name-resolve',
    '--innodb-buffer-pool-size=64M',
    // A commit is handed to the kernel, which outlives every kill of these tests; no disk is waited for.
    '--innodb-flush-log-at-trx-commit=2',
  ];
  return server(program, args, { ...user, dir, port, url: `mysql://lovage:secret@127.0.0.1:${port}/lovage` });
}

export default { mariadb: { variable: 'LOVAGE_TEST_MARIADB_URL', start } };
