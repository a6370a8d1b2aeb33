// Which keys have messages in the queue, and what it costs to know.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { limits } from '../dist/limits.js';
import { OrderBacklog } from '../dist/order-backlog.js';

/** A backlog on a store with these pending ids, and how many ids each look has asked for. */
function backlogOn(t, pending) {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const asked = [];
  const backlog = new OrderBacklog({
    newestPending: () => 0,
    hasPendingUpTo: () => false,
    pendingAmong(ids) {
      asked.push(ids.length);
      return ids.filter((id) => pending.has(id));
    },
  });
  const store = (key, id) => {
    pending.add(id);
    backlog.add(key, id);
    backlog.stored(key, id);
  };
  return { backlog, asked, store };
}

const KEYS = 20_000;

function manyKeys(t) {
  const pending = new Set();
  const on = backlogOn(t, pending);
  for (let n = 0; n < KEYS; n++) on.store(`k${n}`, `m${n}`);
  return { ...on, pending };
}

test('looks that find nothing new become rare, and each of them is bounded', (t) => {
  const { asked } = manyKeys(t);
  const minute = 60_000;
  for (let at = 0; at < minute; at += limits.orderPollMs) t.mock.timers.tick(limits.orderPollMs);
  assert.ok(Math.max(...asked) <= limits.orderPollKeys);
  assert.ok(asked.length <= minute / limits.orderPollMsMax + 10, `${asked.length} looks`);
});

test('keys whose messages are handled are free, however many there are', (t) => {
  const { backlog, pending, asked } = manyKeys(t);
  pending.clear();
  pending.add('m7');
  // Every look finds some, so that none of them waits for long.
  for (let n = 0; n <= KEYS / limits.orderPollKeys; n++) t.mock.timers.tick(limits.orderPollMs);
  assert.ok(Math.max(...asked) <= limits.orderPollKeys);
  const left = Array.from({ length: KEYS }, (_, n) => `k${n}`).filter((key) => backlog.has(key));
  assert.deepEqual(left, ['k7']);
});

test('many messages of one key are forgotten a part at a time, and it is free after the last', (t) => {
  const pending = new Set();
  const { backlog, store, asked } = backlogOn(t, pending);
  const count = limits.orderPollKeys * 3;
  for (let n = 0; n < count; n++) store('a', `m${n}`);
  pending.clear();
  for (let n = 0; n < 3; n++) {
    assert.equal(backlog.has('a'), true);
    t.mock.timers.tick(limits.orderPollMs);
  }
  assert.equal(backlog.has('a'), false);
  assert.ok(Math.max(...asked) <= limits.orderPollKeys);
});

test('another message brings the next look forward', (t) => {
  const pending = new Set();
  const { backlog, store, asked } = backlogOn(t, pending);
  store('a', 'a1');
  for (let n = 0; n < 500; n++) t.mock.timers.tick(limits.orderPollMs);
  const before = asked.length;
  pending.clear();
  store('b', 'b1');
  t.mock.timers.tick(limits.orderPollMs);
  assert.ok(asked.length > before);
  assert.deepEqual([backlog.has('a'), backlog.has('b')], [false, true]);
});
