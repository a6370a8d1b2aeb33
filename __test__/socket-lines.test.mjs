// Which messages of a key have to be stored together.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SocketLines } from '../dist/socket-lines.js';

const lines = new SocketLines();
const [a1, a2, a3, a4] = [1, 2, 0, 0].map((number) => ({ key: 'a', number }));
const [b1, none, other] = [{ key: 'b', number: 3 }, { number: 4 }, { number: 0 }];
const newest = { key: 'a', number: 0 };
for (const one of [a1, b1, a2, none, a3, a4]) lines.add(one);

test('the earlier ones of its key, and behind what has not left those that follow it', () => {
  assert.deepEqual(lines.with(newest), [a1, a2, a3, a4, newest]);
  assert.deepEqual(lines.with(a1), [a1]);
  assert.deepEqual(lines.with(a2), [a1, a2], 'what follows is behind it on the socket too');
  assert.deepEqual(lines.with(a3), [a1, a2, a3, a4]);
  assert.deepEqual(lines.with(b1), [b1]);
  for (const one of [none, other]) assert.deepEqual(lines.with(one), [one]);
});

test('what is not on the socket any more has no part in it', () => {
  for (const one of [a1, a3, none, other]) lines.remove(one);
  assert.deepEqual(lines.with(newest), [a2, a4, newest]);
  for (const one of [a2, a4, a4]) lines.remove(one);
  assert.deepEqual(lines.with(newest), [newest]);
});
