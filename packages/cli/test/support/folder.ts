import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const packages = fileURLToPath(new URL('../../../', import.meta.url));

/** A project folder of its own, with these files and these packages of Lovage installed. */
export function projectFolder(
  files: Readonly<Record<string, string>>,
  installed: readonly string[] = ['core', 'transport-sql', 'backend-sql'],
): { readonly path: string; remove(): void } {
  const path = realpathSync(mkdtempSync(join(tmpdir(), 'lovage-cli-')));
  mkdirSync(join(path, 'node_modules/@lovage'), { recursive: true });
  for (const name of installed) symlinkSync(join(packages, name), join(path, 'node_modules/@lovage', name), 'dir');
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(path, name)), { recursive: true });
    writeFileSync(join(path, name), text);
  }
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}
