// What the packages of this workspace say of themselves.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pnpm, root } from './run.mjs';

export const packageNames = readdirSync(join(root, 'packages'));

export function manifest(name) {
  return JSON.parse(readFileSync(join(root, 'packages', name, 'package.json'), 'utf8'));
}

/** The package and all of the workspace that it brings along, by folder name. */
export function ownTree(name) {
  const seen = new Set([name]);
  for (const one of seen) {
    for (const dependency of Object.keys(manifest(one).dependencies ?? {}))
      if (dependency.startsWith('@lovage/')) seen.add(dependency.slice('@lovage/'.length));
  }
  return [...seen];
}

const isAdapter = (name) => /^(transport|backend)-/.test(name);

/** The client libraries of an adapter: what it and the packages beside it ask of others, without what core asks. */
export function clientsOf(name) {
  const foreign = (one) => {
    const { dependencies = {}, peerDependencies = {} } = manifest(one);
    return [...Object.keys(dependencies), ...Object.keys(peerDependencies)].filter(
      (dependency) => !dependency.startsWith('@lovage/'),
    );
  };
  const ofCore = new Set(foreign('core'));
  return [...new Set(ownTree(name).flatMap(foreign))].filter((dependency) => !ofCore.has(dependency));
}

/** The client libraries of all adapters. */
export const clients = [...new Set(packageNames.filter(isAdapter).flatMap(clientsOf))];

/** Packs a package as it would be published; gives the file. */
export async function pack(name, folder) {
  await pnpm(['pack', '--pack-destination', folder], { cwd: join(root, 'packages', name), quiet: true });
  const { name: full, version } = manifest(name);
  return join(folder, `${full.replace('@', '').replace('/', '-')}-${version}.tgz`);
}
