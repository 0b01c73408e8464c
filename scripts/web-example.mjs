// The examples of web frameworks: all take the same two requests.
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { must, root } from './run.mjs';
import { manifest, ownTree, pack } from './workspace.mjs';

/** Sends a task by the web and asks for its result. Throws when it does not come within two minutes. */
export async function tryWeb(url) {
  const sent = await fetch(`${url}/welcome`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ to: 'ada@example.org' }),
  });
  const body = await sent.text();
  if (sent.status !== 202) throw new Error(`POST /welcome answered ${sent.status}: ${body}`);
  const { id } = JSON.parse(body);
  const until = Date.now() + 120_000;
  for (;;) {
    const answer = await fetch(`${url}/tasks/${id}`);
    const text = await answer.text();
    if (answer.ok && JSON.parse(text).state === 'SUCCESS') {
      if (JSON.parse(text).result === 'sent to ada@example.org') return;
      throw new Error(`GET /tasks/${id} gave another result: ${text}`);
    }
    if (Date.now() > until) throw new Error(`GET /tasks/${id} answered ${answer.status} to the end: ${text}`);
    await sleep(50);
  }
}

/** Installs an example that is a project of its own into a folder, with this workspace's packages; gives the place. */
export async function installed(name, folder) {
  const place = join(folder, name);
  cpSync(join(root, 'examples', name), place, { recursive: true });
  const file = join(place, 'package.json');
  const project = JSON.parse(readFileSync(file, 'utf8'));
  const direct = Object.keys(project.dependencies).filter((one) => one.startsWith('@lovage/'));
  const own = new Set(direct.flatMap((one) => ownTree(one.slice('@lovage/'.length))));
  const tarballs = {};
  for (const one of own) tarballs[manifest(one).name] = `file:${await pack(one, folder)}`;
  for (const one of direct) project.dependencies[one] = tarballs[one];
  writeFileSync(file, JSON.stringify({ ...project, overrides: tarballs }, undefined, 2));
  const options = ['--no-audit', '--no-fund', '--ignore-scripts', '--prefer-offline'];
  await must('npm', ['install', ...options], { cwd: place, quiet: true });
  return place;
}
