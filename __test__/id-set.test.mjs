// The table of ids that duplicates are recognised by, against a `Set`.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hashOf, IdSet } from '../dist/id-set.js';
import { limits } from '../dist/limits.js';
import { random } from './support/socket.mjs';

for (const [name, hash] of [
  ['ids are found by what they are', hashOf],
  ['also where many have one hash', (id) => 1 + (id.length % 3)],
]) {
  test(name, () => {
    const next = random(3);
    const ids = new IdSet();
    const expected = new Set();
    const count = hash === hashOf ? 40_000 : 2_000;
    for (let round = 0; round < 2; round++) {
      for (let step = 0; step < count; step++) {
        const letter = 'aé\u0101\ud800'[Math.floor(next() * 4)];
        const number = Math.floor(next() * count);
        const id = `${letter.repeat(number % 50 === 0 ? 250 : next() * 9)}${number % 1e5}`;
        assert.equal(ids.has(id, hash(id)), expected.has(id));
        if (!expected.has(id)) ids.add(id, hash(id));
        expected.add(id);
        assert.equal(ids.size, expected.size);
      }
      for (const id of expected) assert.ok(ids.has(id, hash(id)));
      ids.clear();
      expected.clear();
      assert.equal(ids.has('1', hash('1')), false);
    }
  });
}

test('the longest id that the gate gives it is found again', () => {
  for (const letter of ['a', '\u4fa1']) {
    const ids = new IdSet();
    const id = letter.repeat(limits.gateIdLengthMax);
    ids.add(id, hashOf(id));
    assert.ok(ids.has(id, hashOf(id)));
    assert.ok(!ids.has(id.slice(1), hashOf(id)));
  }
});

test('ids that differ in one letter have different hashes', () => {
  const ids = ['', ...Array.from({ length: 20_000 }, (_, n) => `order-${n}-${n % 7}`)];
  for (let length = 1; length < 40; length++) {
    for (const letter of 'aü\u4fa1\0') ids.push(letter.repeat(length));
  }
  const hashes = new Set(ids.map(hashOf));
  assert.ok(!hashes.has(0));
  // Of 20,000 in 2^32 one pair in twenty runs has the same by chance.
  assert.ok(hashes.size >= ids.length - 5, `${ids.length - hashes.size} of ${ids.length}`);
});

test('nobody can make many ids with one hash by what they differ in', () => {
  // Two ends of the first chunk that cancelled each other in the second, whatever the key was.
  const pairs = ['0a0b', '0\u80610\u8063'];
  const ids = Array.from({ length: 2 ** 12 }, (_, bits) =>
    Array.from({ length: 12 }, (_, at) => pairs[(bits >> at) & 1]).join(''),
  );
  // Of 4,096 in 2^32 one pair in five hundred runs has the same by chance.
  const count = new Set(ids.map(hashOf)).size;
  assert.ok(count >= ids.length - 3, `${count} of ${ids.length}`);
});
