import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { limits } from '../dist/limits.js';
import { makeFolder, openQueue } from './support/queue.mjs';

const FIXTURE = fileURLToPath(new URL('fixtures/queue-full.mjs', import.meta.url));
const noMount =
  process.getuid() !== 0 || spawnSync('unshare', ['-m', 'true']).status !== 0
    ? 'SKIPPED: a disk that is full needs root and unshare(1)'
    : false;

/** What the story says that was played on a disk of this size. */
function play(t, story, size, bytes) {
  const place = makeFolder(t);
  const script = `mount -t tmpfs -o size=${size} tmpfs "$0" && exec "$@"`;
  const options = JSON.stringify({ place, story, bytes });
  const args = ['-m', 'sh', '-c', script, place, process.execPath, FIXTURE, options];
  return JSON.parse(execFileSync('unshare', args));
}

const FULL = 'SQLITE_FULL';
const disks = [
  ['1m', 4000],
  ['2m', 4000],
  ['2m', 100],
  ['4m', 100_000],
];

describe('on a disk that the files of others fill to the last byte', { skip: noMount }, () => {
  for (const [size, bytes] of disks) {
    const which = `${size}, messages of ${bytes} bytes`;

    test(`everything is claimed, completed and deleted; then there is room (${which})`, (t) => {
      const said = play(t, 'drain', size, bytes);
      assert.ok(said.ids.length > 10);
      assert.deepEqual([said.code, said.again], [FULL, FULL]);
      assert.ok(said.kept > 0 && said.untouched, 'storing takes nothing of the reserve');
      assert.deepEqual(said.drained, said.ids);
      assert.deepEqual([said.left, said.cleaned, said.later], [0, said.ids.length, null]);
    });

    test(`also after a start on that disk (${which})`, (t) => {
      const said = play(t, 'reopen', size, bytes);
      assert.equal(said.code, FULL);
      assert.deepEqual(said.drained, said.ids);
      assert.deepEqual([said.cleaned, said.later], [said.ids.length, null]);
    });

    test(`markProcessed and cleanup work (${which})`, (t) => {
      const said = play(t, 'mark', size, bytes);
      assert.deepEqual([said.code, said.cleaned], [FULL, said.ids.length]);
    });
  }

  test('an enqueue that failed has left nothing, and can be repeated', (t) => {
    const said = play(t, 'repeat', '2m');
    assert.deepEqual([said.code, said.refused], [FULL, FULL]);
    assert.deepEqual(said.stored, said.ids);
    const batch = Array.from({ length: 9 }, (_, index) => `batch${index}`);
    assert.deepEqual(said.all, [...said.ids, ...batch, `m${said.ids.length}`]);
  });

  test('ids of messages that did not come by the queue take nothing of the reserve', (t) => {
    const said = play(t, 'remember', '2m', 100);
    assert.deepEqual([said.refused, said.untouched, said.pending], [FULL, true, 0]);
  });

  test('the reserve is spent, and made again when there is room', (t) => {
    const said = play(t, 'refill', '2m');
    assert.ok(said.spent < said.before, 'a start needs some of it');
    assert.equal(said.after, limits.reserveBytes);
  });
});

test('the reserve has its size and the permissions of the database, and stays', (t) => {
  const queue = openQueue(t);
  const reserve = `${queue.dbPath}-reserve`;
  assert.equal(statSync(reserve).size, limits.reserveBytes);
  assert.equal(statSync(reserve).mode & 0o777, 0o600);
  queue.close();
  assert.ok(existsSync(reserve));
});
