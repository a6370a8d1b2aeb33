// The package as its users get it: packed, installed into empty projects, compiled against,
// imported and run there. What only these tests need is installed from `consumers/`.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { copyFileSync, cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join, normalize } from 'node:path';
import { after, before, describe, test } from 'node:test';
import {
  blocks,
  consumers,
  importedValues,
  installTools,
  long,
  node,
  pack,
  project,
  root,
  splitImports,
  start,
} from '../consumers/tools.mjs';
import { target } from '../scripts/tools.mjs';

const ZOD_4 = createRequire(import.meta.url)('zod/package.json').version;
const ZOD_3 = '3.23.8';
const ENTRIES = [
  '@flowtrace/ipc',
  '@flowtrace/ipc/features/unix-socket',
  '@flowtrace/ipc/features/sqlite-queue',
  '@flowtrace/ipc/features/runtime-database',
  '@flowtrace/ipc/features/hybrid',
];
const RUN_IN_PARALLEL = { concurrency: 2 };

const readJson = (path) => JSON.parse(readFileSync(path, 'utf8'));

/** Short, because the paths of sockets in it are limited. */
let folder;
let packed;
let tools;
/** Empty projects that installed the tarball: with zod 4, with the oldest zod 3, with pnpm. */
const projects = {};

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'ipc-'));
  packed = await pack(root, join(folder, 'pack'));
  const install = (name, zod, options) =>
    project(join(folder, name), [packed.tarball, `zod@${zod}`], options).then((path) => {
      projects[name] = path;
    });
  // All of them end before a failure is reported, so that none writes into a removed folder.
  const installations = await Promise.allSettled([
    installTools(join(folder, 'tools'), [packed.tarball, `zod@${ZOD_4}`]).then((path) => {
      tools = path;
    }),
    install('zod4', ZOD_4),
    install('zod3', ZOD_3),
  ]);
  for (const { reason } of installations) if (reason !== undefined) throw reason;
  await install('pnpm', ZOD_4, {
    manager: [process.execPath, join(tools, 'node_modules', 'pnpm', 'bin', 'pnpm.cjs')],
    flags: ['--store-dir', join(folder, 'store')],
  });
  for (const path of Object.values(projects)) {
    copyFileSync(join(consumers, 'entries.mjs'), join(path, 'entries.mjs'));
    copyFileSync(join(consumers, 'hooks.mjs'), join(path, 'hooks.mjs'));
    writePrograms(path);
  }
});

after(() => {
  if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
});

/** The script behind a command of the installed tools. */
function tool(name, command = name) {
  const path = join(tools, 'node_modules', name);
  const { bin } = readJson(join(path, 'package.json'));
  return join(path, typeof bin === 'string' ? bin : bin[command]);
}

describe('the tarball', RUN_IN_PARALLEL, () => {
  test('holds what runs, its declarations and its documents, and nothing else', () => {
    const allowed = [
      /^dist\/([\w-]+\.d\.ts|bundle\.js|esm\.js)$/,
      /^features\/(unix-socket|sqlite-queue|runtime-database|hybrid)\/index\.(js|mjs|d\.ts|d\.mts)$/,
      /^index\.(js|mjs|d\.ts|d\.mts)$/,
      /^docs\/[\w-]+\.md$/,
      /^bench\/results\/[\w-]+\.svg$/,
      /^(README|CHANGELOG|SECURITY)\.md$/,
      /^(LICENSE|package\.json)$/,
    ];
    const addon = `flowtrace-ipc.${target()}.node`;
    const surplus = packed.files.filter(
      (path) => path !== addon && !allowed.some((pattern) => pattern.test(path)),
    );
    assert.deepEqual(surplus, []);
    for (const path of [addon, 'README.md', 'LICENSE', 'CHANGELOG.md', 'package.json']) {
      assert.ok(packed.files.includes(path), path);
    }
  });

  test('runs nothing when it is installed, and depends on nothing but its peer', () => {
    const path = join(projects.zod4, 'node_modules', '@flowtrace', 'ipc', 'package.json');
    const manifest = readJson(path);
    assert.deepEqual(Object.keys(manifest.dependencies ?? {}), []);
    assert.deepEqual(Object.keys(manifest.optionalDependencies ?? {}), []);
    assert.deepEqual(Object.keys(manifest.peerDependencies), ['zod']);
    for (const script of [
      'preinstall',
      'install',
      'postinstall',
      'prepublish',
      'preprepare',
      'prepare',
      'postprepare',
    ]) {
      assert.equal(manifest.scripts?.[script], undefined, script);
    }
    const lock = readJson(join(projects.zod4, 'package-lock.json'));
    assert.deepEqual(Object.keys(lock.packages).sort(), [
      '',
      'node_modules/@flowtrace/ipc',
      'node_modules/zod',
    ]);
    assert.equal(lock.packages['node_modules/@flowtrace/ipc'].hasInstallScript, undefined);
  });

  test('has every file that its documents link to', () => {
    const installed = join(projects.zod4, 'node_modules', '@flowtrace', 'ipc');
    const missing = [];
    for (const document of packed.files.filter((path) => path.endsWith('.md'))) {
      const text = readFileSync(join(installed, document), 'utf8');
      for (const [, link] of text.matchAll(/\]\((?![a-z]+:|#)([^)#]+)/g)) {
        const path = normalize(join(dirname(document), link)).replace(/\/$/, '');
        if (!packed.files.some((file) => file === path || file.startsWith(`${path}/`))) {
          missing.push(`${document}: ${link}`);
        }
      }
    }
    assert.deepEqual(missing, []);
  });

  test('has nothing for publint to report', async () => {
    const output = await node([tool('publint'), 'run', packed.tarball, '--strict']);
    assert.match(output, /All good!/);
  });

  test('has types that are right by every way of resolution', async () => {
    const args = [tool('@arethetypeswrong/cli', 'attw'), packed.tarball];
    assert.match(await node([...args, '--no-definitely-typed']), /No problems found/);
  });
});

describe('require and import', RUN_IN_PARALLEL, () => {
  for (const name of ['zod4', 'zod3', 'pnpm']) {
    test(`give the same classes, and errors of their own zod (${name})`, () =>
      node([join(projects[name], 'entries.mjs')], { cwd: projects[name] }));
  }
});

// The examples of the documented package as programs: a file for CommonJS and one for ES modules.

const examples = blocks(join(consumers, 'documented-examples.txt'), 'typescript').map(
  ({ code }) => code,
);
const EXAMPLE_NAMES = ['features', 'root', 'client', 'server', 'queue', 'poller', 'validation'];

/** What the validation example is about. */
const RAW_DATA = '{"id":"1","type":"t","payload":null,"timestamp":1}';

function socketOf(path, kind, name) {
  return join(path, `${name}.${kind}.sock`);
}

function queueOf(path, kind, name) {
  return join(path, 'data', `${name}.${kind}.db`);
}

function writePrograms(path) {
  for (const [at, name] of EXAMPLE_NAMES.entries()) {
    for (const kind of ['cts', 'mts']) {
      const { imports, body } = splitImports(
        examples[at]
          .replaceAll('{ ... }', '{ close: 1 }')
          .replaceAll('// ... later', 'await later();')
          .replaceAll("'/tmp/flowtrace.sock'", JSON.stringify(socketOf(path, kind, name)))
          .replaceAll("'/path/to/queue.db'", JSON.stringify(queueOf(path, kind, name))),
      );
      const values = importedValues(imports).map((value) => `typeof ${value}`);
      const program = [
        imports,
        'declare function later(): Promise<void>;',
        `const rawData: unknown = JSON.parse('${RAW_DATA}');`,
        `console.log(typeof rawData, ${values.join(', ')});`,
        // A CommonJS program has no `await` of its own.
        kind === 'cts' ? `void (async () => {\n${body}\n})();` : body,
        'export {};',
      ];
      writeFileSync(join(path, `${name}.${kind}`), program.join('\n'));
    }
  }
  for (const kind of ['cts', 'mts']) {
    copyFileSync(join(consumers, 'types', 'service.ts'), join(path, `service.${kind}`));
  }
}

const RESOLUTIONS = {
  node10: { module: 'commonjs', moduleResolution: 'node10' },
  node16: { module: 'node16', moduleResolution: 'node16' },
  nodenext: { module: 'nodenext', moduleResolution: 'nodenext' },
  bundler: { module: 'esnext', moduleResolution: 'bundler' },
};

/**
 * Every combination in the long form. In the short one those that found faults, or that stand for
 * the others: `skipLibCheck` only ever hides errors.
 */
function compilations() {
  const chosen = [];
  const add = (zod, compiler, resolution, { nodeTypes = true, skipLibCheck = false } = {}) =>
    chosen.push({ zod, compiler, resolution, nodeTypes, skipLibCheck });
  if (!long) {
    for (const resolution of ['node16', 'nodenext', 'bundler']) add('zod4', 'current', resolution);
    add('zod3', 'current', 'nodenext');
    add('zod3', 'current', 'node10', { nodeTypes: false });
    add('zod4', 'current', 'nodenext', { nodeTypes: false });
    add('pnpm', 'current', 'bundler', { nodeTypes: false });
    add('zod3', 'oldest', 'node16', { nodeTypes: false });
    add('zod4', 'oldest', 'bundler', { skipLibCheck: true });
    add('zod4', 'newest', 'nodenext');
    return chosen;
  }
  for (const zod of ['zod4', 'zod3', 'pnpm']) {
    for (const compiler of ['oldest', 'current', 'newest']) {
      for (const resolution of Object.keys(RESOLUTIONS)) {
        if (compiler === 'newest' && resolution === 'node10') continue; // It knows no such thing.
        for (const nodeTypes of [false, true]) {
          for (const skipLibCheck of [false, true]) {
            // The declarations of zod 4 itself need TypeScript 5.4.
            if (compiler === 'oldest' && zod !== 'zod3' && !skipLibCheck) continue;
            add(zod, compiler, resolution, { nodeTypes, skipLibCheck });
          }
        }
      }
    }
  }
  return chosen;
}

function compilerOf(compiler) {
  if (compiler === 'newest') return join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  return tool(compiler === 'oldest' ? 'typescript-oldest' : 'typescript', 'tsc');
}

async function compile(path, compiler, name, options) {
  const config = join(path, `tsconfig.${name}.json`);
  const compilerOptions = {
    strict: true,
    exactOptionalPropertyTypes: true,
    noUncheckedIndexedAccess: true,
    target: 'es2022',
    noEmit: true,
    ...options,
  };
  const names = [...EXAMPLE_NAMES, 'service'];
  // With this resolution every module is a CommonJS one, and none may await by itself.
  const kinds = options.moduleResolution === 'node10' ? ['cts'] : ['cts', 'mts'];
  const files = names.flatMap((file) => kinds.map((kind) => `${file}.${kind}`));
  writeFileSync(config, JSON.stringify({ compilerOptions, files }));
  await node([compilerOf(compiler), '-p', config], { cwd: path });
}

describe('the documented examples and the code of a service compile', RUN_IN_PARALLEL, () => {
  for (const [at, chosen] of compilations().entries()) {
    const { zod, compiler, resolution, nodeTypes, skipLibCheck } = chosen;
    const without = `${nodeTypes ? '' : ', no types of Node'}${skipLibCheck ? ', skipLibCheck' : ''}`;
    test(`${zod}, ${compiler} compiler, ${resolution}${without}`, () =>
      compile(projects[zod], compiler, at, {
        ...RESOLUTIONS[resolution],
        // Where it is not implied, the declarations of zod 4 need it; ours and zod 3's do not.
        ...(resolution === 'node10' && { esModuleInterop: zod !== 'zod3' }),
        skipLibCheck,
        types: nodeTypes ? ['node'] : [],
        typeRoots: [join(tools, 'node_modules', '@types')],
        // Without the types of Node, `console` and timers come from those of browsers.
        lib: nodeTypes ? ['es2023'] : ['es2023', 'dom'],
      }));
  }
});

/** How each example is driven from outside, and what it has to do. */
const drive = {
  features: (program) => program.end(),
  root: (program) => program.end(),
  queue: (program) => program.end(),
  validation: (program) => program.end(),

  async client(program) {
    const received = new Promise((resolve, reject) => {
      const peer = createServer((socket) => {
        let bytes = Buffer.alloc(0);
        socket.on('error', reject);
        socket.on('data', (chunk) => {
          bytes = Buffer.concat([bytes, chunk]);
        });
        socket.on('end', () => {
          socket.end();
          peer.close();
          resolve(bytes);
        });
      });
      peer.listen(program.socketPath, () => program.begin());
    });
    const body = Buffer.from('{"type":"candle:complete","payload":{"close":1}}');
    const header = Buffer.alloc(4);
    header.writeUInt32BE(body.length);
    assert.deepEqual(await received, Buffer.concat([header, body]));
    await program.end();
  },

  async server(program) {
    const { says } = program.begin();
    await says(/^later$/m);
    const socket = connect(program.socketPath);
    await once(socket, 'connect');
    const body = Buffer.from('{"type":"greeting"}');
    const header = Buffer.alloc(4);
    header.writeUInt32BE(body.length);
    socket.write(Buffer.concat([header, body]));
    await says(/Received: \{ type: 'greeting' \}/);
    // The client stays connected: the server ends nevertheless.
    socket.on('error', () => {});
    await program.end();
    socket.destroy();
  },

  async poller(program) {
    const { says } = program.begin({ EXAMPLE_QUEUE: program.dbPath });
    await says(/Processing: \{[^}]*id: 'msg-1'/);
    await says(/^later$/m);
    await program.end();
  },
};

describe('the documented examples run', RUN_IN_PARALLEL, () => {
  for (const project of ['zod4', 'zod3', 'pnpm']) {
    test(project, async (context) => {
      const path = projects[project];
      await compile(path, 'current', 'emit', {
        ...RESOLUTIONS.nodenext,
        noEmit: false,
        skipLibCheck: true,
        types: ['node'],
        typeRoots: [join(tools, 'node_modules', '@types')],
      });
      for (const name of EXAMPLE_NAMES) {
        for (const kind of ['cts', 'mts']) {
          await context.test(`${name}.${kind}`, () => drive[name](programOf(path, kind, name)));
        }
      }
    });
  }
});

function programOf(path, kind, name) {
  let running;
  const begin = (env) => {
    const file = join(path, `${name}.${kind.replace('t', 'j')}`);
    const args = ['--import', './hooks.mjs', file];
    running = start(process.execPath, args, { cwd: path, env, timeoutMs: 30_000 });
    return running;
  };
  const end = async () => {
    if (running === undefined) begin();
    running.child.stdin.end();
    const { code, output } = await running.ended;
    assert.equal(code, 0, output);
    assert.doesNotMatch(output, /undefined/);
  };
  const socketPath = socketOf(path, kind, name);
  return { begin, end, socketPath, dbPath: queueOf(path, kind, name) };
}

describe('the addon in a package of its own', RUN_IN_PARALLEL, () => {
  let main;
  let platform;
  const addon = `@flowtrace/ipc-${target()}`;

  before(async () => {
    // What the release workflow does, on a copy.
    const copy = join(folder, 'release');
    for (const path of [...packed.files, 'scripts']) {
      if (!path.endsWith('.node')) cpSync(join(root, path), join(copy, path), { recursive: true });
    }
    const file = `flowtrace-ipc.${target()}.node`;
    cpSync(join(root, file), join(copy, 'artifacts', file));
    await node([join(copy, 'scripts', 'platform-packages.mjs'), 'artifacts'], { cwd: copy });
    [main, platform] = await Promise.all([
      pack(copy, join(folder, 'pack', 'main')),
      pack(join(copy, 'npm', target()), join(folder, 'pack', 'platform')),
    ]);
    const zod = `zod@${ZOD_4}`;
    await Promise.all([
      project(join(folder, 'with'), [main.tarball, platform.tarball, zod]),
      project(join(folder, 'without'), [main.tarball, zod], { flags: ['--omit=optional'] }),
    ]);
    copyFileSync(join(consumers, 'entries.mjs'), join(folder, 'with', 'entries.mjs'));
  });

  test('is found there', async () => {
    assert.deepEqual(
      main.files.filter((path) => path.endsWith('.node')),
      [],
    );
    assert.deepEqual(platform.files.sort(), [`flowtrace-ipc.${target()}.node`, 'package.json']);
    await node(['entries.mjs'], { cwd: join(folder, 'with') });
    const manifest = readJson(join(folder, 'with/node_modules/@flowtrace/ipc/package.json'));
    assert.deepEqual(manifest.optionalDependencies, { [addon]: manifest.version });
  });

  test('leaves both packages without a fault', async () => {
    for (const { tarball } of [main, platform]) {
      await node([tool('publint'), 'run', tarball, '--strict']);
    }
    const args = [tool('@arethetypeswrong/cli', 'attw'), main.tarball];
    await node([...args, '--no-definitely-typed']);
  });

  // The platform is told to the package by overriding what Node says of it.
  const machines = [
    ['this machine', '', target()],
    [
      'a Mac',
      "Object.defineProperty(process, 'platform', { value: 'darwin' });" +
        "Object.defineProperty(process, 'arch', { value: 'arm64' });",
      'darwin-arm64',
    ],
    [
      'Linux with musl',
      "Object.defineProperty(process, 'platform', { value: 'linux' });" +
        "Object.defineProperty(process, 'arch', { value: 'x64' });" +
        'process.report.getReport = () => ({ header: {} });',
      'linux-x64-musl',
    ],
  ];
  for (const [name, override, missing] of machines) {
    test(`that is missing is named (${name})`, async () => {
      const script = `${override}
        for (const entry of ${JSON.stringify(ENTRIES)}) {
          for (const load of [async () => require(entry), () => import(entry)]) {
            load().then(
              () => console.log('loaded'),
              ({ name, code, message }) => console.log(JSON.stringify({ name, code, message })),
            );
          }
        }`;
      const output = await node(['-e', script], { cwd: join(folder, 'without') });
      const lines = output.trim().split('\n');
      assert.equal(lines.length, 2 * ENTRIES.length, output);
      for (const line of lines) {
        const { name, code, message } = JSON.parse(line);
        assert.deepEqual({ name, code }, { name: 'IpcError', code: 'ERR_IPC_ADDON_NOT_FOUND' });
        assert.ok(message.includes(`for ${missing} `), message);
        assert.ok(message.includes(`@flowtrace/ipc-${missing};`), message);
      }
    });
  }
});

// One runner at a time: their own workers use both cores.
describe('suites of services pass', () => {
  const jest = (suite, ...flags) => {
    const modules = suite === 'jest-esm' ? ['--experimental-vm-modules', '--no-warnings'] : [];
    return [
      `${suite} ${flags.join(' ')}`,
      () => [...modules, tool('jest'), '-c', `${suite}/jest.config.cjs`, ...flags],
    ];
  };
  const vitest = (...flags) => [
    `vitest ${flags.join(' ')}`,
    () => [tool('vitest'), 'run', '--root', 'vitest', ...flags],
  ];
  const cases = [
    jest('jest-cjs', '--runInBand'),
    jest('jest-cjs', '--workerThreads', '--maxWorkers=2'),
    jest('jest-esm', '--runInBand'),
    vitest('--pool=forks'),
    vitest('--pool=threads'),
  ];
  if (long) {
    cases.push(
      jest('jest-cjs', '--maxWorkers=2'),
      jest('jest-esm', '--maxWorkers=2'),
      jest('jest-esm', '--workerThreads', '--maxWorkers=2'),
      vitest('--pool=vmForks'),
      vitest('--pool=vmThreads'),
      vitest('--pool=threads', '--poolOptions.threads.singleThread'),
      vitest('--pool=threads', '--no-isolate'),
      vitest('--pool=forks', '--no-isolate', '--no-file-parallelism'),
    );
  }
  for (const [name, args] of cases) {
    test(name, async () => {
      // A suite that leaves something behind would keep its runner alive.
      const output = await node(args(), { cwd: tools, timeoutMs: 60_000 });
      assert.doesNotMatch(output, /did not exit|failed to exit|close timed out/i);
    });
  }
});
