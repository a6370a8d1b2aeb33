// What a server tells of marked messages, without the socket: whatever the order in which they
// settle and whenever it is told, the client learns the outcome of each.
import assert from 'node:assert/strict';
import test from 'node:test';
import { Acknowledgements, controlOf, MARK } from '../dist/acknowledgements.js';
import { limits } from '../dist/limits.js';
import { random } from './support/socket.mjs';

/** The outcomes that control frames tell, in the way a client reads them. */
class Reader {
  outcomes = new Map();
  #through = 0;

  read(text) {
    assert.ok(text.endsWith(MARK));
    assert.ok(Buffer.byteLength(text) <= limits.controlBytesMax, `${Buffer.byteLength(text)}`);
    const { through = 0, also = [], refused = [] } = controlOf(JSON.parse(text));
    for (const [number, code] of refused) this.#settle(number, code);
    for (let at = 0; at < also.length; at += 2) {
      for (let number = also[at]; number <= also[at + 1]; number++) this.#settle(number, 'handled');
    }
    while (this.#through < through) this.#settle(++this.#through, 'handled');
  }

  #settle(number, outcome) {
    if (!this.outcomes.has(number)) this.outcomes.set(number, outcome);
  }
}

for (const [name, odds] of Object.entries({
  'all in order': { swap: 0, refuse: 0, take: 0.3 },
  'many refusals at once': { swap: 0, refuse: 0.9, take: 0.001 },
  'at random': { swap: 1, refuse: 0.3, take: 0.05 },
  'every second one late': { swap: 0.5, refuse: 0, take: 0.002 },
})) {
  test(`every outcome is told once it is known, and none too early: ${name}`, () => {
    const next = random(name.length);
    const count = 5_000;
    const numbers = Array.from({ length: count }, (_, index) => index + 1);
    for (let at = 0; at < count; at++) {
      if (next() >= odds.swap) continue;
      const other = Math.min(count - 1, at + Math.floor(next() * 100));
      [numbers[at], numbers[other]] = [numbers[other], numbers[at]];
    }
    const acks = new Acknowledgements();
    const reader = new Reader();
    const settled = new Map();
    const tell = () => {
      for (const text of acks.take()) {
        reader.read(text);
        for (const [number, outcome] of reader.outcomes) {
          if (outcome !== settled.get(number)) assert.fail(`${number} is told to be ${outcome}`);
        }
      }
      assert.equal(reader.outcomes.size, settled.size);
      assert.deepEqual(acks.take(), []);
    };
    for (const number of numbers) {
      if (next() < odds.refuse) {
        settled.set(number, 'ERR_IPC_NO_HANDLER');
        acks.refuse(number, 'ERR_IPC_NO_HANDLER', '\0\ud800'.repeat(Math.floor(next() * 500)));
      } else {
        settled.set(number, 'handled');
        acks.acknowledge(number);
      }
      if (next() < odds.take) tell();
    }
    tell();
    assert.equal(settled.size, count);
  });
}

test('a message that is never settled costs nothing for those behind it', () => {
  const acks = new Acknowledgements();
  const first = 3;
  acks.acknowledge(1);
  // More than a Set holds.
  const last = 2 ** 24 + 10;
  let told = first - 1;
  for (let number = first; number <= last; number++) {
    acks.acknowledge(number);
    if (number % 4_096 !== 0 && number !== last) continue;
    const [{ through, also }, ...more] = acks.take().map((text) => controlOf(JSON.parse(text)));
    assert.deepEqual([through, also, more], [told < first ? 1 : undefined, [told + 1, number], []]);
    told = number;
  }
  acks.acknowledge(2);
  assert.deepEqual(
    acks.take().map((text) => controlOf(JSON.parse(text))),
    [{ through: last }],
  );
});
