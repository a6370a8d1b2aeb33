// What waits in a process for the end of a tick is bounded, whatever the number of its clients.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { burst } from '../dist/burst.js';
import { Outbox } from '../dist/outbox.js';

const CLIENTS = 300;
/** Twice what one round may have. */
const WAITING_MAX = 2 * 256 * 1024 + 100_000;

/** Outboxes whose writers take everything, and how much waited in all of them at most. */
function outboxes() {
  const counts = { waiting: 0, peak: 0 };
  const text = (frames) => {
    counts.waiting -= frames.length;
    return 0;
  };
  const all = Array.from({ length: CLIENTS }, () => new Outbox({ text, values: () => 0 }, burst));
  const added = (json) => {
    // With the place for its length.
    counts.waiting += json.length + 4;
    counts.peak = Math.max(counts.peak, counts.waiting);
  };
  return { all, counts, added };
}

test('little waits when a job sends more in the middle of the end of a tick', async () => {
  const { all, counts, added } = outboxes();
  const put = (outbox, json) => {
    added(json);
    outbox.postText(json);
  };
  const [first, ...others] = all;
  const long = JSON.stringify('x'.repeat(47 * 1024));
  put(first, '1');
  const job = Promise.resolve().then(() => {
    for (const outbox of others) put(outbox, long);
  });
  for (const outbox of others) put(outbox, '1');
  await job;
  for (const outbox of all) await outbox.drained();
  assert.equal(counts.waiting, 0);
  assert.ok(counts.peak < WAITING_MAX, `${counts.peak} waited`);
});

test('little waits when many send one message after the other, each at its own pace', async () => {
  const { all, counts, added } = outboxes();
  const json = JSON.stringify('x'.repeat(40 * 1024));
  const send = async (outbox, index) => {
    for (let turn = index % 5; turn > 0; turn--) await null;
    for (let count = 0; count < 20; count++) {
      added(json);
      await outbox.sendText(json);
      if (index % 3 === 0) await null;
    }
  };
  await Promise.all(all.map(send));
  assert.equal(counts.waiting, 0);
  assert.ok(counts.peak < WAITING_MAX, `${counts.peak} waited`);
});
