// What the other scripts share. Uses nothing but Node, because it runs before anything is
// installed.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Runs a command in the project; ends this process with its exit code if it fails. */
export function run(command, args, options = {}) {
  const result = spawnSync(command, args, { cwd: root, stdio: 'inherit', ...options });
  if (result.error?.code === 'ENOENT') {
    fail(`'${command}' is not installed. ${HINTS[command] ?? ''}`);
  }
  if (result.error) fail(String(result.error));
  if (result.status !== 0) {
    const how = result.signal ? `was ended by ${result.signal}` : `exited with ${result.status}`;
    fail(`${command} ${args.join(' ')} ${how}`, result.status ?? 1);
  }
  return result;
}

const HINTS = {
  cargo: 'The core is written in Rust: install it from https://rustup.rs.',
  npm: 'It comes with Node.js.',
};

function fail(message, code = 1) {
  console.error(`\n${message}`);
  process.exit(code);
}

/** Installs the development dependencies, unless those of this lock file are there. */
export function install() {
  const stamp = join(root, 'node_modules', '.installed');
  const lock = createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    .digest('hex');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === lock) return;
  run('npm', ['ci', '--ignore-scripts']);
  writeFileSync(stamp, lock);
}

/** The name of the build for this machine, as `ts/native.ts` looks for it. */
export function target() {
  const base = `${process.platform}-${process.arch}`;
  if (process.platform !== 'linux') return base;
  const musl = !process.report?.getReport().header.glibcVersionRuntime;
  return `${base}-${musl ? 'musl' : 'gnu'}`;
}

/** Builds the addon and the JavaScript face. Cargo sees for itself what is fresh. */
export function build() {
  run('cargo', ['build', '--release', '--locked']);
  const library = process.platform === 'darwin' ? 'libflowtrace_ipc.dylib' : 'libflowtrace_ipc.so';
  const addon = join(root, `flowtrace-ipc.${target()}.node`);
  const folder = process.env.CARGO_TARGET_DIR ?? join(root, 'target');
  // By way of a new file: a running process may have the old one mapped.
  copyFileSync(join(folder, 'release', library), `${addon}.new`);
  renameSync(`${addon}.new`, addon);
  rmSync(join(root, 'dist'), { recursive: true, force: true });
  run(process.execPath, [join(root, 'node_modules', 'typescript', 'bin', 'tsc')]);
  run(process.execPath, [join(root, 'scripts', 'bundle.mjs')]);
}
