// The packages of `bench/package.json`: installed by the first run, and loaded by the children.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { unavailable as hybridUnavailable } from '../subjects/hybrid.mjs';

const bench = dirname(dirname(fileURLToPath(import.meta.url)));
const require = createRequire(join(bench, 'package.json'));
const modules = join(bench, 'node_modules');
/** better-sqlite3 is compiled for one line of Node.js; a copy for each stands here. */
const sqliteAddon = join(modules, '.addons', `better_sqlite3-${process.versions.modules}.node`);

/** The packages that a subject is made of; subjects that need none are not listed. */
const NEEDS = {
  'node-ipc': ['node-ipc'],
  zeromq: ['zeromq'],
  plainjob: ['plainjob', 'better-sqlite3'],
  'zod 3': ['zod'],
  'zod 4': ['zod4'],
};

/** A peer package, as `import` or `require` would give it to its user. */
export function peer(name) {
  return import(require.resolve(name)).then((module) => module);
}

/** better-sqlite3, compiled for this Node.js. */
export async function openDatabase(path) {
  const { default: Database } = await peer('better-sqlite3');
  return new Database(path, { nativeBinding: sqliteAddon });
}

/** The folder of a peer package. */
export const peerFolder = (name) => join(modules, name);

export { sqliteAddon };

/** Why a subject cannot be measured here, if so. */
export function unavailable(subject) {
  if (subject.startsWith('hybrid')) return hybridUnavailable();
  const missing = (NEEDS[subject] ?? []).filter((name) => !installed(name));
  return missing.length === 0 ? undefined : `${missing.join(', ')} not installed`;
}

function installed(name) {
  if (name === 'better-sqlite3' && !existsSync(sqliteAddon)) return false;
  return existsSync(join(modules, name));
}

/** Installs the peers unless they are there. Whatever fails is only told: ours still runs. */
export function installPeers() {
  const lock = readFileSync(join(bench, 'package-lock.json'));
  const hash = createHash('sha256').update(lock).digest('hex');
  const stamp = join(modules, '.installed');
  if (!existsSync(stamp) || readFileSync(stamp, 'utf8') !== hash) {
    // Compiled below, once for every line of Node.js.
    if (!npm(['ci', '--ignore-scripts'])) return;
    writeFileSync(stamp, hash);
  }
  if (existsSync(sqliteAddon)) return;
  console.error(`Compiling better-sqlite3 for Node ${process.version}, about a minute …`);
  if (!npm(['rebuild', 'better-sqlite3'])) return;
  mkdirSync(dirname(sqliteAddon), { recursive: true });
  const built = join(modules, 'better-sqlite3', 'build', 'Release', 'better_sqlite3.node');
  if (loads(built)) copyFileSync(built, sqliteAddon);
}

/** Whether this Node.js can load an addon; tried in a process of its own. */
function loads(addon) {
  const program = `process.dlopen({ exports: {} }, ${JSON.stringify(addon)})`;
  return spawnSync(process.execPath, ['-e', program], { stdio: 'ignore' }).status === 0;
}

/** npm under this very Node.js, so that addons are compiled for it. */
function npm(args) {
  const script = npmScript();
  if (script === undefined) {
    console.error('npm was not found: the peers are not installed.');
    return false;
  }
  const home = dirname(process.execPath);
  const env = { ...process.env, PATH: `${home}${delimiter}${process.env.PATH}` };
  // Headers that came with this Node.js need no download.
  const prefix = dirname(home);
  if (existsSync(join(prefix, 'include', 'node', 'node_version.h'))) {
    env.npm_config_nodedir = prefix;
  }
  const { status } = spawnSync(process.execPath, [script, ...args], {
    cwd: bench,
    env,
    stdio: ['ignore', 2, 2],
  });
  if (status !== 0) console.error(`npm ${args.join(' ')} failed: some peers are left out.`);
  return status === 0;
}

function npmScript() {
  if (process.env.npm_execpath?.endsWith('npm-cli.js')) return process.env.npm_execpath;
  return (process.env.PATH ?? '')
    .split(delimiter)
    .map((folder) => join(folder, 'npm'))
    .filter(existsSync)
    .map((path) => realpathSync(path))
    .find((path) => path.endsWith('npm-cli.js'));
}
