import { relative, sep } from 'node:path';
import { watch as watchFiles } from 'chokidar';

export interface WatchOptions {
  readonly folder: string;
  /** Files and folders besides it. */
  readonly more: readonly string[];
  /** Looks at the files again and again, for shares that tell of no change. */
  readonly poll: boolean;
  /** The files that changed, within a moment, relative to the folder. */
  readonly onChange: (files: readonly string[]) => void;
}

/** One save of an editor is several events, and a branch that is checked out is hundreds. */
const QUIET_MS = 100;
const WATCHED = /\.(?:[cm]?[jt]sx?|json|ya?ml)$|(?:^|[\\/])\.env[^\\/]*$/;
const IGNORED = /(?:^|[\\/])(?:node_modules|\.git|coverage)(?:[\\/]|$)/;

/** Watches what an app may be made of: modules, JSON, YAML and `.env`. Resolves when no later change can be missed. */
export async function watch({ folder, more, poll, onChange }: WatchOptions): Promise<{ close(): Promise<void> }> {
  const changed = new Set<string>();
  let timer: NodeJS.Timeout | undefined;
  const watcher = watchFiles([folder, ...more], {
    ignoreInitial: true,
    usePolling: poll,
    ignored: (path, stats) => IGNORED.test(relative(folder, path)) || (stats?.isFile() === true && !WATCHED.test(path)),
  });
  watcher.on('all', (_, path) => {
    if (!WATCHED.test(path)) return;
    changed.add(relative(folder, path).replaceAll(sep, '/'));
    clearTimeout(timer);
    timer = setTimeout(() => {
      const files = [...changed].toSorted();
      changed.clear();
      onChange(files);
    }, QUIET_MS);
  });
  await new Promise<void>((resolve, reject) => {
    watcher.once('ready', resolve);
    watcher.once('error', reject);
  });
  return {
    close: () => {
      clearTimeout(timer);
      return watcher.close();
    },
  };
}
