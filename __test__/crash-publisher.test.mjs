// Single promises of the publisher and the consumer, each brought about at a chosen point.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { timeout } from './crash/settings.mjs';
import { noOracle, Stage } from './crash/stage.mjs';
import { noStrace, strace } from './crash/strace.mjs';
import { openQueue, startOld, until } from './support/queue.mjs';

const COUNT = 50;
const MIB = 1024 * 1024;

describe('the acknowledgement never reaches the publisher', { timeout, skip: noOracle }, () => {
  /**
   * The consumer has handled everything and the publisher is killed before it can write down the
   * first promise. It comes back and publishes everything again, perhaps to a new consumer.
   */
  async function publishAgain(t, dedup, isRestarted) {
    const stage = new Stage(t);
    const start = () => stage.start('consumer', 'handled', { how: 'hybrid', options: { dedup } });
    let consumer = await start();
    const settings = { how: 'hybrid', count: COUNT, timeoutMs: 60_000 };
    const signals = { resolved: ['SIGKILL', 1] };
    const first = await stage.start('publisher', 'published', { ...settings, signals });
    assert.deepEqual(await first.says(), { point: 'resolved' });
    await first.gone;
    // Remembered is what was handled and, with durable duplicate removal, recorded.
    await until(async () => (await consumer.ask('stats')).remembered === COUNT);
    if (isRestarted) {
      await stage.kill(consumer);
      consumer = await start();
    }
    const second = await stage.start('publisher', 'published', settings);
    assert.equal((await second.says()).accepted, COUNT);
    await stage.ends(second);
    await stage.drain(consumer);
    return stage.assertKept();
  }

  for (const [dedup, isRestarted, repeated] of [
    ['memory', false, 0],
    ['durable', false, 0],
    ['memory', true, COUNT],
    ['durable', true, 0],
  ]) {
    const name = `${isRestarted ? 'a new' : 'the same'} consumer, dedup ${dedup}`;
    test(`${name}: ${repeated} are handled again`, async (t) => {
      const verdict = await publishAgain(t, dedup, isRestarted);
      assert.deepEqual([verdict.accepted, verdict.repeated.length], [COUNT, repeated]);
    });
  }
});

describe('process.exit() stores what is under way', { timeout, skip: noOracle }, () => {
  const publish = { how: 'hybrid', count: COUNT, options: { spillAfterMs: 60_000 } };

  test('before there is a connection', async (t) => {
    const stage = new Stage(t);
    const settings = { ...publish, exits: 'now' };
    await stage.ends(await stage.start('publisher', 'published', settings));
    assert.equal(stage.assertKept().pending, COUNT);
  });

  test('while a consumer works on it', async (t) => {
    const stage = new Stage(t);
    const held = await stage.start('consumer', 'handled-held', { how: 'hybrid', isHeld: true });
    const publisher = await stage.start('publisher', 'published', { ...publish, exits: 'told' });
    await until(async () => (await held.ask('stats')).inFlight === COUNT);
    assert.equal(stage.assertKept().pending, 0);
    publisher.tell('exit');
    await stage.ends(publisher);
    assert.equal(stage.assertKept().pending, COUNT);
    await stage.kill(held);
    await stage.drain(await stage.start('consumer', 'handled', { how: 'hybrid' }));
    assert.equal(stage.assertKept().handled, COUNT);
  });
});

test('a stopped consumer and a locked file: promises settle, memory is bounded', {
  timeout,
  skip: noOracle,
}, async (t) => {
  const stage = new Stage(t);
  openQueue(t, { dbPath: stage.dbPath }).close();
  const consumer = await stage.start('consumer', 'handled', { how: 'hybrid' });
  consumer.process.kill('SIGSTOP');
  const other = await startOld(t, stage.dbPath);
  await other.sql('BEGIN IMMEDIATE');

  const count = 120_000;
  const bytes = 8_192;
  const options = { spillAfterMs: 100, timeoutMs: 1_000, maxPending: 1_000 };
  // With a heap that is too small for what must not be there.
  const under = ['env', 'NODE_OPTIONS=--max-old-space-size=128'];
  const flood = await stage.start('flood', 'none', { count, bytes, options }, { under });
  const { outcomes, growth, longestMs, stats } = await flood.says();
  t.diagnostic(`${growth} bytes, ${longestMs} ms, ${JSON.stringify(outcomes)}`);
  const settled = Object.values(outcomes).reduce((sum, number) => sum + number, 0);
  assert.equal(settled, count);
  assert.deepEqual([stats.pending, stats.waiting, stats.pendingLength], [0, 0, 0]);
  // Two thousand of them may be inside, 16 MiB, and 64 MiB wait for the thread that stores.
  assert.ok(growth < 400 * MIB, `${growth} bytes`);
  assert.ok(longestMs < 30_000, `${longestMs} ms`);
  // It would go on to store what waits.
  await stage.kill(flood);
});

test('on the healthy path nothing touches the disk', {
  timeout,
  skip: noOracle || noStrace,
}, async (t) => {
  const stage = new Stage(t);
  const consumer = await stage.start('consumer', 'handled', { how: 'hybrid' });
  const options = { spillAfterMs: 60_000 };
  const settings = { how: 'hybrid', count: 2_000, group: 100, timeoutMs: 120_000, options };
  const calls = 'openat,pwrite64,pwritev,fdatasync,fsync,ftruncate,fallocate';
  const under = strace(stage, calls, ['-ttt']);
  const publisher = await stage.start('publisher', 'published', settings, { under });
  assert.equal((await publisher.says()).accepted, 2_000);
  await stage.ends(publisher);
  await stage.drain(consumer);
  stage.assertKept();

  const entries = stage.ledgers('published');
  const [from, to] = [entries[0].at, entries.at(-1).at];
  const lines = readFileSync(join(stage.folder, 'trace'), 'utf8').trimEnd().split('\n');
  const times = lines.map((line) => Number(/^\d+ +([\d.]+) /.exec(line)[1]) * 1_000);
  // It has opened the file before, so that the trace is not empty.
  assert.ok(times.some((at) => at < from));
  assert.deepEqual(
    times.filter((at) => at >= from && at <= to),
    [],
  );
  assert.deepEqual([...new Set(entries.map(({ level }) => level))], [undefined, 'handled']);
});
