// What the tests of the queue share: folders, the other process, and waiting for what will come.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { SQLiteQueue } from '../../features/sqlite-queue/index.js';

const fixture = (name) => fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url));

/** Why tests that need the other process cannot run, or false. */
export const noPython =
  spawnSync('python3', ['-c', 'import sqlite3']).status === 0
    ? false
    : 'SKIPPED: no python3 with sqlite3, which plays the process of the original package';

const cleanups = new WeakMap();

/** Calls `clean` after the test; what was registered last is called first, unlike `t.after`. */
export function afterwards(t, clean) {
  if (!cleanups.has(t)) {
    const registered = [];
    cleanups.set(t, registered);
    t.after(async () => {
      for (const clean of registered.reverse()) await clean();
    });
  }
  cleanups.get(t).push(clean);
}

/** A folder that is gone after the test. */
export function makeFolder(t) {
  const folder = mkdtempSync(join(tmpdir(), 'ipc-queue-test-'));
  afterwards(t, () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A queue on a file of its own, or of `options.dbPath`; closed after the test. */
export function openQueue(t, options = {}) {
  const dbPath = options.dbPath ?? join(makeFolder(t), 'queue.db');
  const queue = new SQLiteQueue({ ...options, dbPath });
  afterwards(t, () => queue.close());
  return Object.assign(queue, { dbPath });
}

export function message(id, more) {
  return { id, type: 'test', payload: { id }, timestamp: 1, ...more };
}

export function messages(count, prefix = 'm') {
  return Array.from({ length: count }, (_, index) =>
    message(`${prefix}${index}`, { timestamp: index + 1 }),
  );
}

export const idsOf = (rows) => rows.map((row) => (row.message ?? row).id);

/** Resolves when `probe` answers with something truthy, with that. */
export async function until(probe) {
  for (;;) {
    const answer = await probe();
    if (answer) return answer;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** A promise with its handles, as `Promise.withResolvers` of later Node lines. */
export function deferred() {
  const handles = {};
  handles.promise = new Promise((resolve, reject) => Object.assign(handles, { resolve, reject }));
  return handles;
}

/** A child that speaks in lines of JSON; killed after the test if it still runs. */
class Child {
  #lines = [];
  #waiting = [];
  #ended = false;

  constructor(t, command, args, options) {
    this.process = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'], ...options });
    this.stderr = '';
    this.process.stderr.on('data', (chunk) => {
      this.stderr += chunk;
    });
    // It may be gone when it is told something.
    this.process.stdin.on('error', () => {});
    createInterface({ input: this.process.stdout }).on('line', (line) => {
      this.#lines.push(JSON.parse(line));
      this.#serve();
    });
    this.ended = once(this.process, 'close').then(([code, signal]) => {
      this.#ended = true;
      this.#serve();
      return { code, signal, stderr: this.stderr };
    });
    afterwards(t, () => {
      this.process.kill('SIGKILL');
      return this.ended;
    });
  }

  #serve() {
    while (this.#waiting.length > 0 && (this.#lines.length > 0 || this.#ended)) {
      const { resolve, reject } = this.#waiting.shift();
      if (this.#lines.length > 0) resolve(this.#lines.shift());
      else reject(new Error(`the child ended: ${this.stderr}`));
    }
  }

  /** The next thing that it says. */
  says() {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#serve();
    });
  }

  tell(value) {
    this.process.stdin.write(`${JSON.stringify(value)}\n`);
  }

  async ask(value) {
    this.tell(value);
    return this.says();
  }

  kill(signal = 'SIGKILL') {
    this.process.kill(signal);
    return this.ended;
  }
}

/** Another process of this package, running a fixture, perhaps under another command. */
export function startNode(t, name, args = [], { under = [], ...options } = {}) {
  const line = [...under, process.execPath, fixture(name), ...args.map(String)];
  return new Child(t, line[0], line.slice(1), options);
}

/**
 * A process that has the file open with a SQLite of its own, as processes of the original package
 * have. Opening the file with that SQLite in *this* process would cancel our locks.
 */
export async function startOld(t, dbPath) {
  const child = new Child(t, 'python3', [fixture('queue-old.py'), dbPath], {});
  await child.says();
  return {
    child,
    /** Rows of a statement, which commits by itself unless a transaction was begun. */
    async sql(text, ...values) {
      const { rows, error } = await child.ask({ sql: text, values });
      if (error !== undefined) throw new Error(error);
      return rows;
    },
    /** The first value of the first row. */
    async value(text, ...values) {
      const [row] = await this.sql(text, ...values);
      return row?.[0];
    },
    async end() {
      child.process.stdin.end();
      await child.ended;
    },
  };
}

/** The table and indexes as the original package makes them. */
export const ORIGINAL_SCHEMA = [
  `CREATE TABLE message_queue (
    message_id TEXT PRIMARY KEY, type TEXT NOT NULL, payload TEXT NOT NULL,
    timestamp INTEGER NOT NULL, processed INTEGER DEFAULT 0, processed_at INTEGER,
    created_at INTEGER DEFAULT (strftime('%s', 'now')))`,
  'CREATE INDEX idx_message_queue_processed ON message_queue (processed, timestamp)',
  'CREATE INDEX idx_message_queue_cleanup ON message_queue (processed, processed_at)',
];
