import { mkdtempSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { nodeOs } from './builtins.js';

/** Folders of queues that are open on `:memory:`. */
const folders = new Set<string>();

/**
 * A file of nobody else's for a queue on `:memory:`, as tests use it. A database in memory would
 * belong to one connection; a queue has two.
 */
export function privateFile(): string {
  const folder = mkdtempSync(join(nodeOs().tmpdir(), 'flowtrace-ipc-'));
  if (folders.size === 0) process.once('exit', removeAll);
  folders.add(folder);
  return join(folder, 'queue.db');
}

/** Removes it. */
export function removePrivateFile(file: string): void {
  const folder = dirname(file);
  rmSync(folder, { recursive: true, force: true });
  folders.delete(folder);
  if (folders.size === 0) process.removeListener('exit', removeAll);
}

function removeAll(): void {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
}
