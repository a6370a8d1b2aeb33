// What the tests of the packed package share: child processes, installing, and the examples of
// documents as programs.
import { spawn } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The checkout. */
export const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** The folder of this file. */
export const consumers = join(root, 'consumers');

/** Whether the long form of the tests was asked for. */
export const long = process.env.FLOWTRACE_IPC_TEST === 'long';

/** What child processes inherit: tools that are scripts run on the Node that runs the tests. */
export function environment() {
  const env = { ...process.env, NO_COLOR: '1', CI: '1', npm_config_update_notifier: 'false' };
  for (const name of Object.keys(env)) {
    // An outer `npm test` describes itself to its children; an inner npm would believe it.
    if (/^npm_(package|lifecycle)_|^npm_config_local_prefix$|^NODE_TEST_/.test(name)) {
      delete env[name];
    }
  }
  delete env.FORCE_COLOR;
  env.PATH = `${dirname(process.execPath)}${delimiter}${env.PATH}`;
  return env;
}

/** A child process with its output so far; `ended` resolves with its code when it has ended. */
export function start(command, args, { cwd, env = {}, timeoutMs = 180_000 } = {}) {
  const child = spawn(command, args, {
    cwd,
    env: { ...environment(), ...env },
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
  });
  const watchers = new Set();
  const running = { child, output: '' };
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk) => {
      running.output += chunk;
      for (const watcher of watchers) watcher();
    });
  }
  running.ended = new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) =>
      resolve({ code: code ?? signal, output: running.output }),
    );
  });
  /** Resolves once the output matches; rejects when the process ends without. */
  running.says = (pattern) =>
    new Promise((resolve, reject) => {
      const look = () => {
        if (pattern.test(running.output)) resolve();
      };
      watchers.add(look);
      look();
      running.ended.then(
        () => reject(new Error(`It ended without ${pattern}:\n${running.output}`)),
        reject,
      );
    });
  return running;
}

/** Runs a command to its end and returns its output; rejects, with the output, if it fails. */
export async function run(command, args, options) {
  const { code, output } = await start(command, args, options).ended;
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${code}:\n${output}`);
  return output;
}

/** Runs a script on the Node that runs the tests. */
export function node(args, options) {
  return run(process.execPath, args, options);
}

/** Runs a command that needs the package registry, and says so if it fails. */
async function online(command, args, options) {
  try {
    return await run(command, args, options);
  } catch (cause) {
    throw new Error(
      `These tests install packages. '${command} ${args[0]}' failed: is the registry that ` +
        `'npm config get registry' names within reach?\n${cause.message}`,
      { cause },
    );
  }
}

/** Packs the package in `folder`; returns the path of the tarball and the files in it. */
export async function pack(folder, destination) {
  mkdirSync(destination, { recursive: true });
  const args = ['pack', '--json', '--loglevel=error', '--pack-destination', destination];
  const output = await run('npm', args, { cwd: folder });
  const parsed = JSON.parse(output.slice(output.search(/^[[{]/m)));
  const [packed] = Object.values(parsed);
  return {
    tarball: join(destination, packed.filename),
    files: packed.files.map(({ path }) => path),
  };
}

/** Makes an empty project and installs `packages` into it, as a user would. */
export async function project(folder, packages, { manager = ['npm'], flags = [] } = {}) {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{ "name": "service", "private": true }\n');
  const [command, ...first] = manager;
  const add =
    first.length > 0 ? ['add'] : ['install', '--ignore-scripts', '--no-audit', '--no-fund'];
  await online(command, [...first, ...add, ...flags, ...packages], { cwd: folder });
  return folder;
}

/** Copies this folder, installs its tools from the lock file, and the `packages` with them. */
export async function installTools(folder, packages = []) {
  cpSync(consumers, folder, {
    recursive: true,
    filter: (path) => !path.startsWith(join(consumers, 'node_modules')),
  });
  await online('npm', ['ci', '--ignore-scripts'], { cwd: folder });
  if (packages.length > 0) {
    const args = ['install', '--no-save', '--ignore-scripts', ...packages];
    await online('npm', args, { cwd: folder });
  }
  return folder;
}

/** The fenced blocks of a document in one language, each with the line it begins at. */
export function blocks(path, language) {
  const text = readFileSync(path, 'utf8');
  const fence = new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, 'gm');
  return Array.from(text.matchAll(fence), (match) => ({
    line: text.slice(0, match.index).split('\n').length + 1,
    code: match[1],
  }));
}

/** Parts the import declarations of a program from the rest. */
export function splitImports(code) {
  const imports = [];
  const body = code.replace(/^import\b[^;]*;\n/gm, (declaration) => {
    imports.push(declaration);
    return '';
  });
  return { imports: imports.join(''), body };
}

/** The values, not the types, that a program's import declarations bring in. */
export function importedValues(imports) {
  return Array.from(imports.matchAll(/^import \{([^}]*)\}/gm)).flatMap(([, names]) =>
    names.split(',').flatMap((name) => name.trim() || []),
  );
}
