// What a publisher and its connection keep of the messages under way, against plain tables.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PublicationRoom } from '../dist/publication-room.js';
import { SentMessages } from '../dist/sent-messages.js';
import { random } from './support/socket.mjs';

test('messages are found by their numbers, in whatever order they are taken out', () => {
  const next = random(1);
  const below = (count) => Math.floor(next() * count);
  const sent = new SentMessages();
  const expected = new Map();
  let last = 0;
  for (let step = 0; step < 60_000; step++) {
    const isGrowing = step % 20_000 < 12_000;
    if (next() < (isGrowing ? 0.7 : 0.3)) {
      const message = { number: ++last };
      sent.add(message);
      expected.set(last, message);
    } else {
      // Most of them among the newest, so that a few stay behind for thousands of others.
      const number = last - (next() < 0.9 ? below(500) : below(last + 1));
      const message = expected.get(number);
      assert.equal(sent.get(number), message);
      if (message !== undefined) assert.equal(sent.delete(message), true);
      if (message !== undefined) assert.equal(sent.delete(message), false);
      expected.delete(number);
    }
    if (step % 5_000 === 0) assert.deepEqual(sent.all(), [...expected.values()]);
    if (step % 9_999 === 0) {
      // The newest did not leave, and others get their numbers.
      const first = Math.max(1, last - 700);
      for (let number = first; number <= last; number++) {
        const message = expected.get(number);
        if (message !== undefined) sent.delete(message);
        expected.delete(number);
      }
      last = first - 1;
    }
    assert.equal(sent.size, expected.size);
  }
  assert.ok(expected.size > 2_000, 'more than there are places');
  assert.deepEqual(sent.all(), [...expected.values()]);
  sent.clear();
  assert.deepEqual([sent.size, sent.all(), sent.get(last)], [0, [], undefined]);
});

test('a room knows who is inside, in whatever order they leave', () => {
  const next = random(2);
  const room = new PublicationRoom({ countMax: 50, lengthMax: 5_000, blocks: true });
  const inside = new Set();
  const outside = [];
  const length = () => [...inside].reduce((sum, each) => sum + each.length, 0);
  for (let step = 0; step < 5_000; step++) {
    if (next() < 0.52 && outside.length < 40) {
      const publication = { length: Math.floor(next() * 200), name: step };
      if (room.admit(publication)) inside.add(publication);
      else outside.push(publication);
    } else if (inside.size > 0) {
      const leaving = [...inside][Math.floor(next() * inside.size)];
      room.leave(leaving);
      room.leave(leaving);
      inside.delete(leaving);
      for (let entered = room.letIn(); entered !== undefined; entered = room.letIn()) {
        assert.equal(entered, outside.shift());
        inside.add(entered);
      }
    }
    assert.deepEqual(room.inside(), [...inside]);
    assert.deepEqual(
      [room.size, room.waiting, room.length],
      [inside.size, outside.length, length()],
    );
  }
  assert.deepEqual(room.takeAll(), [...inside, ...outside]);
});
