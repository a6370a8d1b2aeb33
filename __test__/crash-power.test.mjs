// What survives when the power of the file system is cut.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { KILLS, randomOf, timeout } from './crash/settings.mjs';
import { noOracle, Stage } from './crash/stage.mjs';
import { openQueue } from './support/queue.mjs';

const POWER = fileURLToPath(new URL('crash/power.mjs', import.meta.url));

/** Why this machine cannot play a loss of power, or false. */
function noPower() {
  if (noOracle) return noOracle;
  const folder = mkdtempSync(join(tmpdir(), 'ipc-power-'));
  const script = 'cd "$0" && truncate -s 8M i && mkfs.ext4 -q -F i && mkdir d && mount -o loop i d';
  const { status, error, stderr } = spawnSync('unshare', ['-m', 'sh', '-c', script, folder]);
  rmSync(folder, { recursive: true, force: true });
  if (status === 0) return false;
  const why = error?.message ?? stderr.toString().trim();
  return `SKIPPED: no ext4 file system on a loop device can be mounted here: ${why}`;
}

/** Runs programs until the power is cut; the stage then has what is left of the file. */
function cutPower(stage, programs, cutAfterMs) {
  const { folder } = stage;
  const all = programs.map(([program, ledger, settings, waits = false]) => ({
    program,
    settings: { ledgerPath: join(folder, `${ledger}.ndjson`), ...settings },
    waits,
  }));
  const argument = JSON.stringify({ folder, programs: all, cutAfterMs });
  const said = execFileSync('unshare', ['-m', process.execPath, POWER, argument], {
    // What the programs say about their failing disk is in the ledgers as well.
    stdio: ['ignore', 'pipe', 'ignore'],
    timeout,
  });
  stage.cut(JSON.parse(said).cutAt);
}

describe('a loss of power', { timeout, skip: noPower() }, () => {
  const enqueue = (how, durability) => [
    'enqueuer',
    'published',
    { how, prefix: 'm', count: 500, durability, stay: true },
    true,
  ];

  for (const how of ['one', 'many', 'async']) {
    test(`${how}: everything stored with full durability is there`, (t) => {
      const stage = new Stage(t);
      cutPower(stage, [enqueue(how, 'full')]);
      const { accepted, pending } = stage.assertKept();
      assert.deepEqual({ accepted, pending }, { accepted: 500, pending: 500 });
      assert.equal(openQueue(t, { dbPath: stage.dbPath }).dequeue(1_000).length, 500);
    });
  }

  test('with normal durability the oracle finds messages lost', (t) => {
    const stage = new Stage(t);
    cutPower(stage, [enqueue('many', 'normal')]);
    const { ok, lost, accepted } = stage.verdict();
    assert.deepEqual({ ok, accepted }, { ok: false, accepted: 500 });
    assert.ok(lost.length > 0);
  });

  const store = (how) => ({ how, prefix: `${how}-`, count: 1_000_000 });
  const publish = { how: 'hybrid', rate: 500, timeoutMs: 10_000, options: { spillAfterMs: 5 } };
  for (const [name, programs] of [
    [
      'while others store and drain',
      [
        ['enqueuer', 'published-one', store('one')],
        ['enqueuer', 'published-async', store('async')],
        ['drainer', 'handled', { how: 'poller', leaseMs: 1_000 }],
      ],
    ],
    ['while a publisher has nobody to publish to', [['publisher', 'published', publish]]],
    [
      'while messages take the socket and the queue',
      [
        ['consumer', 'handled', { how: 'hybrid', handlerMs: 5, options: { dedup: 'durable' } }],
        ['publisher', 'published', publish],
      ],
    ],
  ]) {
    test(`at random moments, ${name}`, (t) => {
      const random = randomOf(t);
      for (let round = 0; round < Math.ceil(KILLS / 10); round++) {
        const stage = new Stage(t);
        cutPower(stage, programs, 100 + random() * 300);
        const { accepted } = stage.assertKept();
        assert.ok(accepted > 0);
      }
    });
  }
});
