// Gets what a service needs: a program that is installed, else by a package manager, else an error that says what to do.
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { has, must, root, run } from './run.mjs';

/** A program of a Debian package; `path` where it is not on the PATH. Gives the command to run it with. */
export async function debianProgram(program, debian) {
  if (program.startsWith('/') ? existsSync(program) : has(program)) return program;
  await installDebian(debian, program);
  return program;
}

async function installDebian(debian, what) {
  if (!has('apt-get') || process.getuid?.() !== 0) {
    throw new Error(`${what} is not installed. Install it, or set the URL of a running server.`);
  }
  console.log(`Installing ${debian} ...`);
  // A package must not start its server by itself: ours run with folders and ports of their own.
  const policy = '/usr/sbin/policy-rc.d';
  const ours = !existsSync(policy);
  if (ours) writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  try {
    const install = ['-o', 'DPkg::Lock::Timeout=300', 'install', '-y', '--no-install-recommends', debian];
    if ((await run('apt-get', install, { env, quiet: true })).code !== 0) {
      await must('apt-get', ['update'], { env, quiet: true });
      await must('apt-get', install, { env, quiet: true });
    }
  } finally {
    if (ours) rmSync(policy);
  }
}

/** Who runs a server that refuses to be root: as root, the first of these users that exists; else whoever we are. */
export function ordinaryUser(names) {
  if (process.getuid?.() !== 0) return {};
  const users = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'));
  const found = names.map((name) => users.find(([known]) => known === name)).find((user) => user !== undefined);
  if (found === undefined) throw new Error(`None of the users ${names.join(', ')} exists, and root may not run it.`);
  return { uid: Number(found[2]), gid: Number(found[3]) };
}

/** A Go program at one version (`github.com/o/p@v1.2.3`), built once into `.services/bin`. Gives its path. */
export async function goProgram(module, name) {
  const version = module.slice(module.lastIndexOf('@') + 1);
  const folder = join(root, '.services/bin', version);
  const program = join(folder, name);
  if (existsSync(program)) return program;
  if (!has('go')) throw new Error(`${name} is not installed, nor is Go, which could build it.`);
  console.log(`Building ${module} ...`);
  mkdirSync(folder, { recursive: true });
  await must('go', ['install', module], { env: { ...process.env, GOBIN: folder }, quiet: true });
  return program;
}

/** npm packages at fixed versions in a folder of their own, none of whose scripts run. Gives the folder. */
export async function npmPackages(name, versions) {
  const folder = join(root, '.services/npm', name);
  const wanted = JSON.stringify({ private: true, dependencies: versions });
  const stamp = join(folder, 'installed.json');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return folder;
  console.log(
    `Installing ${Object.entries(versions)
      .map((entry) => entry.join('@'))
      .join(', ')} ...`,
  );
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), wanted);
  const install = ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--no-package-lock'];
  await must('npm', install, { cwd: folder, quiet: true });
  writeFileSync(stamp, wanted);
  return folder;
}

/** A Python environment of its own with the packages of a requirements file. Gives its interpreter. */
export async function pythonWith(name, requirements) {
  if ((await run('python3', ['-c', 'import venv, ensurepip'], { quiet: true }).catch(() => ({ code: 1 }))).code !== 0)
    await installDebian('python3-venv', 'python3 with venv');
  const dir = join(root, '.venv', name);
  const python = join(dir, 'bin/python');
  const wanted = readFileSync(join(root, requirements), 'utf8');
  const stamp = join(dir, 'installed.txt');
  if (!existsSync(stamp) || readFileSync(stamp, 'utf8') !== wanted) {
    console.log(`Installing Python packages (${requirements}) ...`);
    await must('python3', ['-m', 'venv', '--clear', dir], { quiet: true });
    const install = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check'];
    await must(python, [...install, '-r', join(root, requirements)], { quiet: true });
    writeFileSync(stamp, wanted);
  }
  return python;
}

/** A Java program of Maven Central (`group:artifact:version`) with all that it needs. Gives the folder of its jars. */
export async function mavenJars(coordinates) {
  const [group, artifact, version] = coordinates.split(':');
  const folder = join(root, '.services/jars', `${artifact}-${version}`);
  if (existsSync(folder)) return folder;
  const mvn = await debianProgram('mvn', 'maven');
  console.log(`Fetching ${coordinates} and what it needs ...`);
  const project = `${folder}.part`;
  mkdirSync(project, { recursive: true });
  writeFileSync(
    join(project, 'pom.xml'),
    `<project><modelVersion>4.0.0</modelVersion><groupId>services</groupId><artifactId>services</artifactId><version>1</version>
<dependencies><dependency><groupId>${group}</groupId><artifactId>${artifact}</artifactId><version>${version}</version></dependency></dependencies></project>`,
  );
  const copy = ['-q', '-B', 'dependency:copy-dependencies', '-DoutputDirectory=jars', '-DincludeScope=runtime'];
  await must(mvn, copy, { cwd: project, quiet: true });
  renameSync(join(project, 'jars'), folder);
  rmSync(project, { recursive: true });
  return folder;
}
