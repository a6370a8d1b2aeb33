// What survives when processes that share a queue file are killed or stopped at any moment.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { KILLS, MESSAGES, randomOf, timeout } from './crash/settings.mjs';
import { noOracle, Stage } from './crash/stage.mjs';
import { openQueue } from './support/queue.mjs';

const PROCESSES = 8;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

describe('killed while it stores', { timeout, skip: noOracle }, () => {
  for (const how of ['one', 'many', 'async']) {
    // Chosen points first: right before and after the call, and when its promise has resolved.
    for (const name of ['intended', 'stored', 'accepted']) {
      test(`${how}: killed when ${name}`, async (t) => {
        const stage = new Stage(t);
        const signals = { [name]: ['SIGKILL', 3] };
        const settings = { how, prefix: 'm', count: 200, signals };
        const child = await stage.start('enqueuer', 'published', settings);
        assert.deepEqual(await child.says(), { point: name });
        assert.equal((await child.gone).signal, 'SIGKILL');
        const verdict = stage.assertKept();
        assert.ok(verdict.accepted < 200);
      });
    }

    test(`${how}: killed at random times`, async (t) => {
      const random = randomOf(t);
      const stage = new Stage(t);
      for (let life = 0; life < Math.ceil(KILLS / 4); life++) {
        const settings = { how, prefix: `life${life}-`, count: 1_000_000 };
        const child = await stage.start('enqueuer', `published-${life}`, settings);
        await pause(random() * 100);
        await stage.kill(child);
      }
      const verdict = stage.assertKept();
      assert.ok(verdict.accepted > 0);
      // What is in the file is still a queue: all of it can be had, if not at once.
      const queue = openQueue(t, { dbPath: stage.dbPath });
      let had = 0;
      for (let ids; ids?.length !== 0; had += queue.markProcessedMany(ids)) {
        ids = queue.dequeue(10_000).map(({ id }) => id);
      }
      assert.equal(had, verdict.pending);
    });
  }
});

describe(`${PROCESSES} processes drain one file`, { timeout, skip: noOracle }, () => {
  for (const [what, how, stops] of [
    ['claims, killed and stopped at random times', 'claims', true],
    // A poller whose lease ran out is told, and says so.
    ['pollers, killed and stopped at random times', 'poller', true],
    ['pollers, killed at random times', 'poller', false],
  ]) {
    test(what, async (t) => {
      const random = randomOf(t);
      const stage = new Stage(t);
      const settings = { how: 'many', prefix: 'm', count: MESSAGES };
      await stage.ends(await stage.start('enqueuer', 'published', settings));

      // Leases are shorter than the stops, so that they run out.
      const drain = { how, leaseMs: stops ? 300 : 3_600_000, limit: 10, handlerMs: 8 };
      const start = (name) => stage.start('drainer', `handled-${name}`, drain);
      const children = await Promise.all(
        Array.from({ length: PROCESSES }, (_, name) => start(name)),
      );
      const running = () => children.flatMap((child, name) => (isRunning(child) ? [name] : []));
      const resumed = [];
      const counts = { kills: 0, stops: 0 };
      while (counts.kills + counts.stops < KILLS && running().length === PROCESSES) {
        await pause(random() * 100);
        const name = Math.floor(random() * PROCESSES);
        if (!stops || random() < 0.5) {
          await stage.kill(children[name]);
          counts.kills++;
          children[name] = await start(name);
        } else {
          const resume = stage.stop(children[name]);
          counts.stops++;
          resumed.push(pause(400 + random() * 400).then(resume));
        }
      }
      t.diagnostic(JSON.stringify(counts));
      await Promise.all(resumed);
      for (const child of children) await stage.ends(child);
      const verdict = stage.assertKept();
      assert.equal(verdict.handled, MESSAGES);
      assert.equal(verdict.processed, MESSAGES);
    });
  }
});

function isRunning({ process }) {
  return process.exitCode === null && process.signalCode === null;
}
