// What becomes of messages when the disk is full for a while.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { timeout } from './crash/settings.mjs';
import { noSmallDisk } from './crash/small-disk.mjs';
import { noOracle, Stage } from './crash/stage.mjs';
import { until } from './support/queue.mjs';

/** A publisher that publishes each message until it is accepted, a few at a time. */
const PUBLISHER = {
  how: 'hybrid',
  rate: 200,
  bytes: 2_000,
  underWayMax: 40,
  timeoutMs: 300,
  attempts: 1_000,
};

describe('the disk is full for a while', { timeout, skip: noOracle || noSmallDisk() }, () => {
  /** A publisher without a consumer, and a disk that is filled, emptied and filled again. */
  async function fillTwice(t) {
    const stage = new Stage(t, { isSmall: true });
    const publisher = await stage.start('publisher', 'published', PUBLISHER);
    const count = (kind) =>
      stage.ledgers('published').filter((entry) => entry.kind === kind).length;
    const more = (kind, number) => {
      const enough = count(kind) + number;
      return until(() => count(kind) >= enough);
    };
    await more('accepted', 20);
    for (let round = 0; round < 2; round++) {
      stage.disk.fill();
      await more('rejected', 40);
      if (round > 0) break;
      stage.disk.empty();
      await more('accepted', 40);
    }
    const codes = stage
      .ledgers('published')
      .filter(({ kind }) => kind === 'rejected')
      .map(({ code, indeterminate }) => `${code} ${indeterminate}`);
    // Whoever ran out of time during another attempt cannot know how that one ends.
    const known = ['SQLITE_FULL false', 'SQLITE_FULL true', 'ERR_IPC_PUBLISH_TIMEOUT true'];
    assert.deepEqual(
      [...new Set(codes)].filter((code) => !known.includes(code)),
      [],
    );
    assert.ok(codes.includes(known[0]));
    return { stage, publisher };
  }

  test('what was accepted is there, and everything else when there is room again', async (t) => {
    const { stage, publisher } = await fillTwice(t);
    stage.disk.empty();
    await publisher.ask('end');
    await stage.ends(publisher);
    const { intended, accepted, pending } = stage.assertKept();
    assert.deepEqual({ accepted, pending }, { accepted: intended, pending: intended });
  });

  test('a consumer takes what comes by the socket, and drains the full disk', async (t) => {
    const { stage, publisher } = await fillTwice(t);
    const consumer = await stage.start('consumer', 'handled', { how: 'hybrid' });
    await publisher.ask('end');
    await stage.ends(publisher);
    await stage.drain(consumer);
    const { intended, accepted, handled } = stage.assertKept();
    assert.deepEqual({ accepted, handled }, { accepted: intended, handled: intended });
  });
});
