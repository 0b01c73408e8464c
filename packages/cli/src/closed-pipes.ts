let isIgnored = false;

/** From here on the command goes on working though nobody reads what it prints. */
export function ignoreClosedPipes(): void {
  isIgnored = true;
}

/** `lovage events --dump | head`: whoever reads has had enough. A command that can be told to stop is told, others end. */
export function endWithReaders(): void {
  process.stdout.on('error', (error) => {
    if (!isClosed(error)) throw error;
    if (!isIgnored && !process.emit('SIGTERM', 'SIGTERM')) process.exit(0);
  });
  process.stderr.on('error', (error) => {
    if (!isClosed(error)) throw error;
  });
}

function isClosed({ code }: NodeJS.ErrnoException): boolean {
  return code === 'EPIPE' || code === 'ERR_STREAM_DESTROYED';
}
