import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { SQLiteQueue } from '../features/sqlite-queue/index.js';
import {
  makeFolder,
  message,
  messages,
  noPython,
  ORIGINAL_SCHEMA,
  openQueue,
  startOld,
} from './support/queue.mjs';

const FIXTURE = fileURLToPath(new URL('./fixtures/queue-open.mjs', import.meta.url));
const isRoot = process.getuid() === 0;
/** A user without rights, for whom root's files are read-only. */
const NOBODY = 65534;

/** What another process makes of a path. */
function openElsewhere(options) {
  return JSON.parse(execFileSync(process.execPath, [FIXTURE, JSON.stringify(options)]));
}

/** Opening fails with the code, and nothing in the folder has changed. */
function refused(folder, dbPath, expected) {
  const before = snapshot(folder);
  assert.throws(
    () => new SQLiteQueue({ dbPath }),
    (error) => {
      assert.equal(error.name, 'IpcError');
      assert.match(error.code, expected, error.message);
      assert.ok(error.message.length > 0);
      return true;
    },
  );
  assert.deepEqual(snapshot(folder), before);
}

/** Every entry of a folder with what it holds, but for the log that SQLite may leave beside a file. */
function snapshot(folder) {
  const entries = readdirSync(folder, { withFileTypes: true });
  return entries
    .filter(({ name }) => !/-(wal|shm)$/.test(name))
    .map((entry) => {
      const path = join(folder, entry.name);
      if (entry.isSymbolicLink()) return [entry.name, readlinkSync(path)];
      return [entry.name, entry.isFile() ? digest(path) : 'special'];
    });
}

const digest = (path) => createHash('sha256').update(readFileSync(path)).digest('hex');

describe('a path that holds no queue is refused and left as it is', () => {
  const texts = {
    'a text file': 'this is not a database\n'.repeat(100),
    'a short text': 'x',
    'a header and nothing else': 'SQLite format 3\0',
    zeros: '\0'.repeat(8192),
  };
  for (const [name, content] of Object.entries(texts)) {
    test(name, (t) => {
      const folder = makeFolder(t);
      const dbPath = join(folder, 'queue.db');
      writeFileSync(dbPath, content);
      refused(folder, dbPath, /^SQLITE_(NOTADB|CORRUPT)/);
    });
  }

  test('a database of another application', { skip: noPython }, async (t) => {
    const schemas = [
      ['CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT)'],
      ['CREATE TABLE message_queue (id INTEGER PRIMARY KEY, body TEXT)'],
      [
        'CREATE TABLE message_queue (message_id TEXT, type, payload, timestamp, processed, processed_at)',
      ],
      ['CREATE VIEW message_queue AS SELECT 1 AS message_id'],
      ['PRAGMA application_id = 7', ...ORIGINAL_SCHEMA],
      ['PRAGMA journal_mode = WAL', 'CREATE TABLE users (id INTEGER PRIMARY KEY)'],
    ];
    for (const schema of schemas) {
      const folder = makeFolder(t);
      const dbPath = join(folder, 'queue.db');
      const old = await startOld(t, dbPath);
      for (const statement of schema) await old.sql(statement);
      await old.end();
      refused(folder, dbPath, /^ERR_IPC_FOREIGN_DATABASE$/);
    }
  });

  test('a database of another application that is open in WAL mode', {
    skip: noPython,
  }, async (t) => {
    const folder = makeFolder(t);
    const dbPath = join(folder, 'queue.db');
    const old = await startOld(t, dbPath);
    await old.sql('PRAGMA journal_mode = WAL');
    await old.sql('CREATE TABLE users (id INTEGER PRIMARY KEY)');
    assert.throws(() => new SQLiteQueue({ dbPath }), { code: 'ERR_IPC_FOREIGN_DATABASE' });
    await old.sql('INSERT INTO users VALUES (1)');
    assert.equal(await old.value('PRAGMA integrity_check'), 'ok');
  });

  test('a queue that was cut short', (t) => {
    for (const length of [4096, 5000, 16_384]) {
      const folder = makeFolder(t);
      const queue = openQueue(t, { dbPath: join(folder, 'queue.db') });
      queue.enqueueMany(messages(500));
      queue.close();
      truncateSync(queue.dbPath, length);
      let opened;
      const before = snapshot(folder);
      try {
        opened = new SQLiteQueue({ dbPath: queue.dbPath });
        assert.throws(() => opened.dequeue(500), { name: 'IpcError', code: /^SQLITE_CORRUPT/ });
        assert.throws(() => opened.enqueueMany(messages(500, 'n')), { code: /^SQLITE_CORRUPT/ });
      } catch (error) {
        assert.match(error.code, /^SQLITE_(CORRUPT|NOTADB|IOERR)/, error.message);
        assert.deepEqual(snapshot(folder), before);
      } finally {
        opened?.close();
      }
    }
  });

  test('a folder', (t) => {
    const folder = makeFolder(t);
    mkdirSync(join(folder, 'queue.db'));
    refused(folder, join(folder, 'queue.db'), /^EISDIR$/);
    refused(folder, `${join(folder, 'new')}/`, /^ERR_IPC_INVALID_ARGUMENT$/);
  });

  test('a file where a folder should be', (t) => {
    const folder = makeFolder(t);
    writeFileSync(join(folder, 'file'), 'kept');
    refused(folder, join(folder, 'file', 'queue.db'), /^ENOTDIR$/);
    refused(folder, join(folder, 'file', 'deeper', 'queue.db'), /^ENOTDIR$/);
  });

  test('a pipe, without waiting for a reader', (t) => {
    const folder = makeFolder(t);
    execFileSync('mkfifo', [join(folder, 'pipe')]);
    refused(folder, join(folder, 'pipe'), /^ERR_IPC_INVALID_ARGUMENT$/);
  });

  test('a socket, whose server goes on', async (t) => {
    const folder = makeFolder(t);
    const server = createServer().listen(join(folder, 'socket'));
    await once(server, 'listening');
    refused(folder, join(folder, 'socket'), /^ERR_IPC_INVALID_ARGUMENT$/);
    assert.ok(existsSync(join(folder, 'socket')));
    server.close();
  });

  test('a device', () => {
    const refusal = { code: 'ERR_IPC_INVALID_ARGUMENT' };
    assert.throws(() => new SQLiteQueue({ dbPath: '/dev/null' }), refusal);
  });

  test('a symbolic link that leads nowhere, or in circles', (t) => {
    const folder = makeFolder(t);
    symlinkSync(join(folder, 'nowhere'), join(folder, 'dangling'));
    symlinkSync(join(folder, 'circle'), join(folder, 'circle'));
    refused(folder, join(folder, 'dangling'), /^ENOENT$/);
    refused(folder, join(folder, 'circle'), /^ELOOP$/);
  });

  test('a name that is too long', (t) => {
    const folder = makeFolder(t);
    refused(folder, join(folder, 'x'.repeat(300)), /^ENAMETOOLONG$/);
  });
});

test('a symbolic link to a queue leads to that queue', (t) => {
  const folder = makeFolder(t);
  const queue = openQueue(t, { dbPath: join(folder, 'queue.db') });
  symlinkSync('queue.db', join(folder, 'link'));
  queue.enqueue(message('a'));
  const linked = openQueue(t, { dbPath: join(folder, 'link') });
  linked.enqueue(message('b'));
  assert.equal(queue.dequeue().length, 2);
  linked.close();
  queue.close();
  assert.deepEqual(readdirSync(folder).sort(), ['link', 'queue.db', 'queue.db-reserve']);
});

test('names that SQLite would take for something else are names', (t) => {
  const folder = makeFolder(t);
  for (const name of ['file:queue.db?mode=memory', 'a b%20c.db', 'ü😀.db', '?', ':memory:x']) {
    const queue = openQueue(t, { dbPath: join(folder, name) });
    queue.enqueue(message('a'));
    queue.close();
    assert.ok(readdirSync(folder).includes(name), name);
  }
});

test('a relative path is meant from where the process was when it opened', (t) => {
  const folder = makeFolder(t);
  const before = process.cwd();
  process.chdir(folder);
  let queue;
  try {
    queue = openQueue(t, { dbPath: 'sub/queue.db' });
  } finally {
    process.chdir(before);
  }
  queue.enqueue(message('a'));
  assert.ok(existsSync(join(folder, 'sub', 'queue.db')));
});

describe('modes', () => {
  const mode = (path) => (statSync(path).mode & 0o777).toString(8);

  for (const umask of [0, 0o022, 0o077]) {
    test(`files 600 and new folders 700 under umask ${umask.toString(8)}`, (t) => {
      const folder = makeFolder(t);
      chmodSync(folder, 0o755);
      const before = process.umask(umask);
      let queue;
      try {
        queue = openQueue(t, { dbPath: join(folder, 'a', 'b', 'queue.db') });
        queue.enqueue(message('a'));
      } finally {
        process.umask(before);
      }
      const { dbPath } = queue;
      const modes = [dbPath, `${dbPath}-wal`, `${dbPath}-shm`].map(mode);
      assert.deepEqual(modes, ['600', '600', '600']);
      assert.deepEqual([mode(join(folder, 'a')), mode(join(folder, 'a', 'b'))], ['700', '700']);
      assert.equal(mode(folder), '755', 'what was there keeps its mode');
    });
  }

  test('a file that was there keeps its mode', (t) => {
    const queue = openQueue(t);
    queue.close();
    chmodSync(queue.dbPath, 0o640);
    openQueue(t, { dbPath: queue.dbPath }).enqueue(message('a'));
    assert.deepEqual([mode(queue.dbPath), mode(`${queue.dbPath}-wal`)], ['640', '640']);
  });
});

describe('without the right to write', () => {
  /** A folder with a queue in it that belong to somebody else, or may not be written. */
  function prepared(t) {
    const folder = makeFolder(t);
    const queue = openQueue(t, { dbPath: join(folder, 'queue.db') });
    queue.enqueue(message('kept'));
    queue.close();
    return { folder, dbPath: queue.dbPath };
  }
  const open = (dbPath) => openElsewhere(isRoot ? { dbPath, uid: NOBODY } : { dbPath });

  const cases = [
    ['a file that may be read', 0o444, 0o777, /^(SQLITE_READONLY|SQLITE_CANTOPEN|EACCES)/],
    ['a file that may not even be read', 0o000, 0o777, /^(SQLITE_CANTOPEN|EACCES)/],
    [
      'a folder in which no log can be made',
      0o666,
      0o555,
      /^(SQLITE_READONLY|SQLITE_CANTOPEN|EACCES)/,
    ],
    ['a folder that may not be entered', 0o666, 0o000, /^EACCES$/],
  ];
  for (const [name, fileMode, folderMode, expected] of cases) {
    test(`${name} is refused; later it works`, (t) => {
      const { folder, dbPath } = prepared(t);
      const bytes = readFileSync(dbPath);
      chmodSync(dbPath, fileMode);
      chmodSync(folder, folderMode);
      const answer = open(dbPath);
      assert.equal(answer.name, 'IpcError', JSON.stringify(answer));
      assert.match(answer.code, expected, answer.message);
      chmodSync(folder, 0o777);
      chmodSync(dbPath, 0o666);
      assert.ok(readFileSync(dbPath).equals(bytes));
      assert.deepEqual(readdirSync(folder).sort(), ['queue.db', 'queue.db-reserve']);
      assert.deepEqual(open(dbPath), { stored: 2 });
    });
  }

  test('a missing file in a folder that may not be written is refused', (t) => {
    const folder = makeFolder(t);
    chmodSync(folder, 0o555);
    assert.equal(open(join(folder, 'queue.db')).code, 'EACCES');
    assert.equal(open(join(folder, 'deeper', 'queue.db')).code, 'EACCES');
    assert.deepEqual(readdirSync(folder), []);
    chmodSync(folder, 0o777);
    assert.deepEqual(open(join(folder, 'deeper', 'queue.db')), { stored: 1 });
  });
});

const noMount =
  !isRoot || spawnSync('unshare', ['-m', 'true']).status !== 0
    ? 'SKIPPED: a disk that is full needs root and unshare(1)'
    : false;
test('a full disk: a typed error, nothing stored is lost, and it goes on with space', {
  skip: noMount,
}, (t) => {
  const disk = makeFolder(t);
  const options = JSON.stringify({ dbPath: join(disk, 'queue.db'), full: disk });
  const script = 'mount -t tmpfs -o size=1m tmpfs "$0" && exec "$@"';
  const args = ['-m', 'sh', '-c', script, disk, process.execPath, FIXTURE, options];
  const said = JSON.parse(execFileSync('unshare', args));
  assert.equal(said.name, 'IpcError');
  assert.match(said.code, /^SQLITE_(FULL|IOERR)/);
  assert.match(said.later, /^SQLITE_(FULL|IOERR)/);
  assert.ok(said.stored.length > 20);
  assert.equal(said.readable, said.stored.length);
  assert.deepEqual(said.ids, [...said.stored, 'after', 'async after']);
  assert.deepEqual(said.again, said.ids);
});
