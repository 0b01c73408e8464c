// A new transport or result store: a package with all its parts and a conformance kit that fails until it is written.
//
//   pnpm new transport foo        packages/transport-foo, scripts/services/foo.mjs, the scheme foo:// in core
//   pnpm new backend foo          packages/backend-foo, the same for results
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { must, pnpm, root } from './run.mjs';

const templates = fileURLToPath(new URL('templates', import.meta.url));
const EXPECTED = 'Expected "pnpm new transport NAME" or "pnpm new backend NAME", with a name such as "redis".';

/** The files of a new package and those of the checkout that change with it: path from the root, and text. */
export function newPackage(kind, name) {
  if (!['transport', 'backend'].includes(kind)) throw new Error(`A "${kind}" cannot be made here. ${EXPECTED}`);
  if (!/^[a-z][a-z0-9-]*$/.test(name)) throw new Error(`"${name}" is no name of a package. ${EXPECTED}`);
  const folder = `packages/${kind}-${name}`;
  if (existsSync(join(root, folder))) throw new Error(`${folder} exists. Choose another name.`);
  const Name = name.replace(/(^|-)([a-z0-9])/g, (_, dash, letter) => letter.toUpperCase());
  const read = (path) => readFileSync(join(root, path), 'utf8');
  const words = {
    kind,
    name,
    Name,
    key: Name[0].toLowerCase() + Name.slice(1),
    NAME: name.toUpperCase().replaceAll('-', '_'),
    version: JSON.parse(read('packages/core/package.json')).version,
    description: kind === 'transport' ? `Lovage transport for ${Name}` : `Lovage result store in ${Name}`,
  };
  const render = (template) =>
    readFileSync(join(templates, template), 'utf8').replace(/\{\{(\w+)\}\}/g, (_, word) => words[word]);
  const files = new Map();
  for (const template of ['package.json.template', 'tsconfig.json.template', ...filesBelow(kind)]) {
    const path = template.startsWith(`${kind}/`) ? template.slice(kind.length + 1) : template;
    files.set(`${folder}/${path.replace(/\.template$/, '')}`, render(template));
  }
  files.set(`${folder}/test/services.json`, `${JSON.stringify([words.key])}\n`);
  const service = `scripts/services/${name}.mjs`;
  if (!existsSync(join(root, service))) files.set(service, render('service.mjs.template'));
  files.set('tsconfig.json', withReference(read('tsconfig.json'), folder));
  const table = `packages/core/src/${kind}/resolve.ts`;
  files.set(table, withScheme(read(table), name, `@lovage/${kind}-${name}`));
  return files;
}

function filesBelow(folder) {
  return readdirSync(join(templates, folder)).flatMap((file) => {
    const path = join(folder, file);
    return statSync(join(templates, path)).isDirectory() ? filesBelow(path) : [path];
  });
}

function withReference(text, path) {
  const config = JSON.parse(text);
  config.references.push({ path });
  return `${JSON.stringify(config, null, 2)}\n`;
}

/** The table of schemes with one line more, unless it knows the scheme. */
function withScheme(source, scheme, name) {
  if (source.includes(`['${scheme}', '${name}']`)) return source;
  const end = source.indexOf(']);');
  return `${source.slice(0, end)}  ['${scheme}', '${name}'],\n${source.slice(end)}`;
}

if (process.argv[1] === import.meta.filename) {
  const [kind = '', name = ''] = process.argv.slice(2);
  try {
    const files = newPackage(kind, name);
    for (const [path, text] of files) {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), text);
      console.log(path);
    }
    const biome = join(root, 'node_modules/@biomejs/biome/bin/biome');
    await must(process.execPath, [biome, 'format', '--write', ...files.keys()], { quiet: true });
    await pnpm(['install', '--prefer-offline', '--reporter=append-only'], { quiet: true });
    const test = `pnpm --filter @lovage/${kind}-${name} test:broker`;
    console.log(`\nNow make the kit pass: "${test}". docs/guide/write-a-transport.md goes through it step by step.`);
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
  }
}
