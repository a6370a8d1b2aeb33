import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createRuntimeDatabasePoller, RuntimeDatabasePoller } from '../index.js';
import { deferred, idsOf, messages } from './support/queue.mjs';
import { openRuntime } from './support/runtime.mjs';

/** A poller that is stopped after the test. */
function start(t, config) {
  const poller = new RuntimeDatabasePoller(config);
  t.after(() => poller.stop());
  return poller;
}

describe('a poller of a runtime database', () => {
  test('delivers in order, with claims', async (t) => {
    const database = openRuntime(t);
    database.enqueueMany(messages(120));
    const handled = [];
    const done = deferred();
    const poller = start(t, {
      database,
      pollInterval: 10,
      batchSize: 7,
      onMessage: async (message) => {
        handled.push(message);
        if (handled.length === 120) done.resolve();
      },
    });
    await poller.start();
    assert.equal(poller.isRunning(), true);
    await assert.rejects(poller.start(), { message: 'Poller is already running' });
    await done.promise;
    await poller.stop();
    assert.equal(poller.isRunning(), false);
    assert.deepEqual(idsOf(handled), idsOf(messages(120)));
    assert.equal(database.stats().processed, 120);
    assert.equal(database.stats().claimed, 0);
  });

  test('needs a handler, which may follow and be replaced', async (t) => {
    const database = openRuntime(t);
    const poller = createRuntimeDatabasePoller({ database, pollInterval: 5 });
    t.after(() => poller.stop());
    await assert.rejects(poller.start(), {
      message: 'onMessage handler must be set before starting the poller',
    });
    assert.equal(poller.isRunning(), false);
    const first = deferred();
    const second = deferred();
    poller.setOnMessage(async ({ id }) => first.resolve(id));
    await poller.start();
    const [one, two] = messages(2);
    database.enqueue(one);
    assert.equal(await first.promise, one.id);
    poller.setOnMessage(async ({ id }) => second.resolve(id));
    database.enqueue(two);
    assert.equal(await second.promise, two.id);
  });

  test('takes any object with the three methods', async (t) => {
    const stored = messages(3);
    const done = deferred();
    const database = {
      dequeue: (limit) => stored.slice(0, limit),
      markProcessed: (id) => {
        assert.equal(stored.shift().id, id);
        if (stored.length === 0) done.resolve();
      },
      cleanup: () => 0,
    };
    const poller = start(t, { database, pollInterval: 5, onMessage: async () => {} });
    await poller.start();
    await done.promise;
  });

  test('names what is wrong with its options', () => {
    const code = 'ERR_IPC_INVALID_ARGUMENT';
    const cases = [
      [undefined, /config/],
      [{ onMessage: () => {} }, /database must be an object with a method dequeue/],
      [{ database: { dequeue() {} } }, /database must be an object with a method markProcessed/],
    ];
    for (const [config, message] of cases) {
      assert.throws(() => new RuntimeDatabasePoller(config), { code, message });
    }
  });
});
