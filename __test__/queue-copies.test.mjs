import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, linkSync, readdirSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { afterwards, makeFolder, message, openQueue } from './support/queue.mjs';

const PACKAGE = fileURLToPath(new URL('..', import.meta.url));
const FIXTURE = fileURLToPath(new URL('./fixtures/queue-open.mjs', import.meta.url));
const anotherCopy = { name: 'IpcError', code: 'ERR_IPC_ANOTHER_COPY' };

/** The entry of a second copy of the package, as npm lays one beside the first. */
function copyPackage(t, { linked = false } = {}) {
  const copy = join(makeFolder(t), 'ipc');
  for (const name of ['dist', 'index.js', 'package.json']) {
    cpSync(join(PACKAGE, name), join(copy, name), { recursive: true });
  }
  for (const name of readdirSync(PACKAGE).filter((file) => file.endsWith('.node'))) {
    const [from, to] = [join(PACKAGE, name), join(copy, name)];
    if (linked) linkSync(from, to);
    else cpSync(from, to);
  }
  symlinkSync(join(PACKAGE, 'node_modules'), join(copy, 'node_modules'));
  return join(copy, 'index.js');
}

function load(t, entry) {
  const { SQLiteQueue } = createRequire(import.meta.url)(entry);
  return (dbPath) => {
    const queue = new SQLiteQueue({ dbPath });
    afterwards(t, () => queue.close());
    return queue;
  };
}

/** Opens a file in a worker thread, and leaves it open until the worker ends. */
async function openInWorker(t, entry, dbPath) {
  const program = `
    const { parentPort, workerData } = require('node:worker_threads');
    const { SQLiteQueue } = require(workerData.entry);
    try {
      globalThis.queue = new SQLiteQueue({ dbPath: workerData.dbPath });
      parentPort.postMessage('open');
    } catch ({ code }) {
      parentPort.postMessage(code);
    }
    parentPort.on('message', () => {});`;
  const worker = new Worker(program, { eval: true, workerData: { entry, dbPath } });
  afterwards(t, () => worker.terminate());
  const [said] = await once(worker, 'message');
  return { worker, said };
}

describe('a second copy of the package in one process', () => {
  test('does not open a file that the first one has open', (t) => {
    const queue = openQueue(t);
    const open = load(t, copyPackage(t));
    queue.enqueue(message('before'));
    assert.throws(() => open(queue.dbPath), { ...anotherCopy, message: /\.node/ });
    // The locks of the first one still hold: a process that comes and goes is not the last one.
    execFileSync(process.execPath, [FIXTURE, JSON.stringify({ dbPath: queue.dbPath })]);
    assert.ok(existsSync(`${queue.dbPath}-wal`));
    queue.enqueue(message('after'));
    assert.equal(queue.stats().pending, 3);

    queue.close();
    const second = open(queue.dbPath);
    assert.equal(second.stats().pending, 3);
    assert.throws(() => openQueue(t, { dbPath: queue.dbPath }), anotherCopy);
    second.close();
    assert.equal(openQueue(t, { dbPath: queue.dbPath }).stats().pending, 3);
  });

  test('opens other files', (t) => {
    const queue = openQueue(t);
    const other = load(t, copyPackage(t))(join(makeFolder(t), 'queue.db'));
    for (const opened of [queue, other]) {
      opened.enqueue(message('a'));
      assert.equal(opened.stats().pending, 1);
    }
  });

  test('is none where both are links to one file', (t) => {
    const queue = openQueue(t);
    const same = load(t, copyPackage(t, { linked: true }))(queue.dbPath);
    same.enqueue(message('a'));
    assert.equal(queue.stats().pending, 1);
  });

  test('is refused in a worker thread too, where the first one is welcome', async (t) => {
    const queue = openQueue(t);
    const own = await openInWorker(t, join(PACKAGE, 'index.js'), queue.dbPath);
    assert.equal(own.said, 'open');
    const copy = await openInWorker(t, copyPackage(t), queue.dbPath);
    assert.equal(copy.said, anotherCopy.code);
  });

  test('has nothing open any more when its thread has ended', async (t) => {
    const dbPath = join(makeFolder(t), 'queue.db');
    const { worker, said } = await openInWorker(t, copyPackage(t), dbPath);
    assert.equal(said, 'open');
    assert.throws(() => openQueue(t, { dbPath }), anotherCopy);
    await worker.terminate();
    const queue = openQueue(t, { dbPath });
    queue.enqueue(message('a'));
    assert.equal(queue.stats().pending, 1);
  });

  test('is refused while the worker thread of a queue has the file', async (t) => {
    const queue = openQueue(t);
    await queue.enqueueAsync(message('a'));
    const open = load(t, copyPackage(t));
    assert.throws(() => open(queue.dbPath), anotherCopy);
    queue.close();
    assert.equal(open(queue.dbPath).stats().pending, 1);
  });
});
