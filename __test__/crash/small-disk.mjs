// A file system of a few megabytes that a test can fill. It is mounted in a mount namespace of its
// own, which is gone with the process that holds it; programs are run in there.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterwards } from '../support/queue.mjs';

/** Room for more than a publisher stores before the test fills it, however slow the machine is. */
const SIZE = '16m';

/** Why there can be no small disk here, or false. */
export function noSmallDisk() {
  const script = 'mount -t tmpfs tmpfs /mnt && nsenter -t $$ -m true';
  const { status, error, stderr } = spawnSync('unshare', ['-m', 'sh', '-c', script]);
  if (status === 0) return false;
  return `SKIPPED: no file system can be mounted here: ${error?.message ?? stderr.toString().trim()}`;
}

export class SmallDisk {
  constructor(t, path) {
    this.path = path;
    mkdirSync(path);
    const holder = spawn('unshare', ['-m', 'sleep', 'infinity'], { stdio: 'ignore' });
    afterwards(t, () => holder.kill('SIGKILL'));
    /** The command line to run a program under. */
    this.under = ['nsenter', '-t', String(holder.pid), '-m'];
    // Until the holder has its own namespace, nothing is mounted in it.
    const own = `until [ "$(readlink /proc/${holder.pid}/ns/mnt)" != "$(readlink /proc/self/ns/mnt)" ]; do sleep 0.01; done`;
    execFileSync('sh', ['-c', own]);
    this.#run('mount', '-t', 'tmpfs', '-o', `size=${SIZE}`, 'tmpfs', path);
  }

  #run(...line) {
    const [command, ...args] = [...this.under, ...line];
    return spawnSync(command, args);
  }

  /** Takes all the space that is left. */
  fill() {
    const ballast = join(this.path, 'ballast');
    const { status, error } = this.#run('dd', 'if=/dev/zero', `of=${ballast}`, 'bs=4096');
    // It ends when it finds no more.
    if (status !== 1) throw new Error('The disk is not full', { cause: error });
  }

  /** Gives it back. */
  empty() {
    this.#run('rm', '-f', join(this.path, 'ballast'));
  }
}
