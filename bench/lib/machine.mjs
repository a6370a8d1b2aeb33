// Where a run took place.
import { readFileSync, statfsSync } from 'node:fs';
import { arch, cpus, platform, release, tmpdir, totalmem } from 'node:os';
import { root } from '../../scripts/tools.mjs';

const TMPFS = 0x01021994;

/** What a reader has to know to compare figures. */
export function machine() {
  const processors = cpus();
  return {
    cpu: processors[0]?.model ?? 'unknown',
    cores: processors.length,
    memoryGb: Math.round(totalmem() / 2 ** 30),
    os: `${platform()} ${release()} ${arch()}`,
    node: process.version,
    date: new Date().toISOString().slice(0, 10),
  };
}

/** A folder for databases that is on a disk: on a memory file system commits cost nothing. */
export function diskFolder(wanted) {
  if (wanted !== undefined) return wanted;
  return statfsSync(tmpdir()).type === TMPFS ? root : tmpdir();
}

/** Version of the package. */
export const version = () => JSON.parse(readFileSync(`${root}/package.json`, 'utf8')).version;
