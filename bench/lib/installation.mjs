// The package as a service has it installed: in `node_modules`, beside a zod of the service's.
import { cpSync, existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { root } from '../../scripts/tools.mjs';
import { peerFolder } from './peers.mjs';

const FILES = ['package.json', 'index.js', 'index.mjs', 'dist', 'features'];

/** An empty project beside `dbPath` with the package and this peer as its zod. */
export function installation(dbPath, zod) {
  const folder = join(dirname(dbPath), 'project');
  const modules = join(folder, 'node_modules');
  const target = join(modules, '@flowtrace', 'ipc');
  if (!existsSync(folder)) {
    mkdirSync(target, { recursive: true });
    const addons = readdirSync(root).filter((name) => name.endsWith('.node'));
    for (const name of [...FILES, ...addons]) {
      cpSync(join(root, name), join(target, name), { recursive: true });
    }
    writeFileSync(join(folder, 'package.json'), '{}');
    symlinkSync(peerFolder(zod), join(modules, 'zod'));
    symlinkSync(peerFolder('better-sqlite3'), join(modules, 'better-sqlite3'));
  }
  return { folder, require: createRequire(join(folder, 'package.json')) };
}
