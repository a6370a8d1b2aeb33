// README.md and the migration guide are what people copy from: their programs compile, and the
// quick start runs.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { blocks, node, root, start } from '../consumers/tools.mjs';

/** The documents, and how many programs each of them has at least. */
const DOCUMENTS = { 'README.md': 13, 'docs/migration.md': 22 };

const programs = blocks(join(root, 'README.md'), 'ts');

/** What the blocks use without saying where it comes from. */
const GLOBALS = `
type Root = typeof import('@flowtrace/ipc');
declare const UnixSocketServer: Root['UnixSocketServer'];
declare const UnixSocketClient: Root['UnixSocketClient'];
declare const HybridConsumer: Root['HybridConsumer'];
declare const HybridPublisher: Root['HybridPublisher'];
declare const checkHealth: Root['checkHealth'];
declare const SQLiteQueue: Root['SQLiteQueue'];
declare const SQLiteQueuePoller: Root['SQLiteQueuePoller'];
declare const queue: import('@flowtrace/ipc').SQLiteQueue;
declare const message: import('@flowtrace/ipc').QueueMessage;
declare const messages: import('@flowtrace/ipc').QueueMessage[];
declare const candle: { symbol: string; close: number };
declare const symbol: string;
declare const rawData: unknown;
declare function store(message: import('@flowtrace/ipc').IPCMessage): Promise<void>;
declare function handle(message: import('@flowtrace/ipc').IPCMessage): Promise<void>;
`;

/** What the test adds to the quick start to follow and to direct it. */
const ADDED = {
  consumer: "console.log('ready');",
  worker: `
import { createInterface } from 'node:readline';
for await (const id of createInterface({ input: process.stdin })) {
  await publish({ id, type: 'candle:complete', payload: {}, timestamp: Date.now() });
  console.log('published', id);
}
await publisher.close();
`,
};

/** Short, because the path of a socket in it is limited. */
let folder;

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'ipc-'));
  const modules = {
    '@flowtrace/ipc': root,
    '@types/node': join(root, 'node_modules', '@types', 'node'),
    zod: join(root, 'node_modules', 'zod'),
  };
  for (const [name, path] of Object.entries(modules)) {
    const link = join(folder, 'node_modules', name);
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(path, link);
  }
});

after(() => {
  if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
});

async function compile(files, options) {
  const compilerOptions = {
    strict: true,
    target: 'es2022',
    module: 'nodenext',
    lib: ['es2023'],
    types: ['node'],
    ...options,
  };
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files }));
  await node([join(root, 'node_modules', 'typescript', 'bin', 'tsc')], { cwd: folder });
}

test('every program compiles', async () => {
  writeFileSync(join(folder, 'globals.d.ts'), GLOBALS);
  const files = Object.entries(DOCUMENTS).flatMap(([document, least]) => {
    const programs = blocks(join(root, document), 'ts');
    assert.ok(programs.length >= least, `${document} has only ${programs.length} of them`);
    return programs.map(({ line, code }) => {
      const file = `${document.replaceAll(/\W/g, '-')}-line-${line}.mts`;
      writeFileSync(join(folder, file), `${code}\nexport {};\n`);
      return file;
    });
  });
  await compile([...files, 'globals.d.ts'], { noEmit: true });
});

test('the quick start runs, and what is published while the consumer is away arrives', async () => {
  for (const [name, added] of Object.entries(ADDED)) {
    const program = programs.find(({ code }) => code.startsWith(`// ${name}.ts\n`));
    assert.ok(program, `README.md has no ${name}.ts`);
    const code = program.code
      .replaceAll("'/run/flowtrace/ipc.sock'", JSON.stringify(join(folder, 'ipc.sock')))
      .replaceAll("'/var/lib/flowtrace/queue.db'", JSON.stringify(join(folder, 'queue.db')));
    writeFileSync(join(folder, `${name}.mts`), `${code}\n${added}`);
  }
  await compile(['consumer.mts', 'worker.mts'], {});

  const run = (name) =>
    start(process.execPath, [join(folder, `${name}.mjs`)], { cwd: folder, timeoutMs: 30_000 });
  const succeed = async ({ ended }) => {
    const { code, output } = await ended;
    assert.equal(code, 0, output);
  };

  const first = run('consumer');
  await first.says(/^ready$/m);
  const worker = run('worker');
  worker.child.stdin.write('by-socket\n');
  await Promise.all([first.says(/^storing by-socket$/m), worker.says(/^published by-socket$/m)]);
  first.child.kill('SIGTERM');
  await succeed(first);

  worker.child.stdin.write('by-queue\n');
  await worker.says(/^published by-queue$/m);
  const second = run('consumer');
  await second.says(/^storing by-queue$/m);
  worker.child.stdin.end();
  await succeed(worker);
  second.child.kill('SIGTERM');
  await succeed(second);
  assert.doesNotMatch(second.output, /by-socket/);
});
