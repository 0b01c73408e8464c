import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';

let own: string | undefined;

/**
 * Names this process so that another one on the same machine can tell whether it still lives. On Linux by boot, process
 * namespace (containers that share a file do not share it), number and start time; elsewhere by host and number.
 */
export function processIdentity(): string {
  own ??= describe();
  return own;
}

/**
 * True only when the process has surely ended. False for one that lives, and for one that cannot be seen from here:
 * another machine, another container.
 */
export function isSurelyDead(identity: string): boolean {
  const [system, place, pid = '', startedAt] = identity.split(' ');
  const [ownSystem, ownPlace] = processIdentity().split(' ');
  if (system !== ownSystem || place !== ownPlace || !/^\d+$/.test(pid)) return false;
  if (startedAt !== undefined) {
    const found = readStat(pid);
    if (found === undefined || found.isZombie) return true;
    return found.startedAt !== undefined && found.startedAt !== startedAt;
  }
  try {
    process.kill(Number(pid), 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
}

function describe(): string {
  if (process.platform === 'linux') {
    try {
      const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
      const { startedAt } = readStat(String(process.pid)) ?? {};
      if (startedAt !== undefined)
        return `linux ${boot}/${readlinkSync('/proc/self/ns/pid')} ${process.pid} ${startedAt}`;
    } catch {
      // A hardened container without /proc: by host and number.
    }
  }
  return `${process.platform} ${hostname().replaceAll(' ', '_')} ${process.pid}`;
}

/** Source: proc(5), /proc/pid/stat: the name in parentheses may hold anything, fields 3 and 22 follow it. */
function readStat(pid: string): { startedAt: string | undefined; isZombie: boolean } | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // Anything but "there is no such process" proves nothing.
    return code === 'ENOENT' || code === 'ESRCH' ? undefined : { startedAt: undefined, isZombie: false };
  }
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return { startedAt: fields[19], isZombie: fields[0] === 'Z' || fields[0] === 'X' };
}
