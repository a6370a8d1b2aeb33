// The table of messages on their way to a handler, against a Map.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Flight, Flights } from '../dist/flights.js';
import { random } from './support/socket.mjs';

test('finds what was added and not removed, whatever shares its bucket or its hash', () => {
  const rng = random(7);
  const flights = new Flights();
  const expected = new Map();
  // Few hashes for many keys, and more keys than there are buckets at first.
  const hashOf = (n) => (n % 5 === 0 ? n % 3 : Math.imul(n, 0x9e3779b1));
  for (let step = 0; step < 20_000; step++) {
    const n = Math.floor(rng() * 2_000);
    const known = expected.get(n);
    assert.equal(flights.get(`key ${n}`, hashOf(n)), known);
    if (known === undefined) {
      const flight = new Flight(`key ${n}`, hashOf(n));
      expected.set(n, flight);
      flights.add(flight);
    } else if (rng() < 0.6) {
      expected.delete(n);
      flights.delete(known);
    }
  }
  assert.ok(expected.size > 512, `${expected.size}`);
  assert.deepEqual(new Set(flights.takeAll()), new Set(expected.values()));
  for (const n of expected.keys()) assert.equal(flights.get(`key ${n}`, hashOf(n)), undefined);
  assert.deepEqual(flights.takeAll(), []);
});
