// Messages with getters that send, publish and store other messages in turn, by every way that a message
// can take: none of those that were accepted is lost, and none comes twice.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { paths, publisherOf, queueOf } from './support/hybrid.mjs';
import { connected, isLong, listen, random, until } from './support/socket.mjs';

/** Messages that the getters of one may send one in the other. */
const DEPTH_MAX = 2;

const TEXTS = ['', 'abc', 'a'.repeat(300), 'ü'.repeat(60), 'a'.repeat(40_000)];

test('messages whose getters send others are lost as little as any', async (t) => {
  const where = paths(t);
  const next = random(20_261_127);
  const below = (count) => Math.floor(next() * count);
  const arrived = new Map();
  const count = (name) => arrived.set(name, (arrived.get(name) ?? 0) + 1);
  const { server } = await listen(t, where);
  server.setRequestHandler((message) => {
    count(message.name ?? message.payload?.name ?? message);
    return {};
  });
  const { client } = await connected(t, where);
  const { client: other } = await connected(t, where);
  const { publisher } = publisherOf(t, where);
  const queue = queueOf(t, where);
  await publisher.publish({ type: 'first', payload: { name: 'first' } });

  let last = 0;
  /** Names of messages that were accepted, each with whether it may come twice. */
  const accepted = new Map();
  const underWay = [];

  /** An object with a few properties, one of which may be such a getter. */
  function content(name, depth) {
    const object = { name };
    const properties = 1 + below(3);
    const getter = depth < DEPTH_MAX && next() < 0.5 ? below(properties) : -1;
    for (let at = 0; at < properties; at++) {
      if (at !== getter) {
        object[`p${at}`] = [TEXTS[below(TEXTS.length)], next(), { list: [1, 2.5, 'text'] }][
          below(3)
        ];
        continue;
      }
      // Whatever is left to `JSON.stringify` is asked again.
      let isFirst = true;
      Object.defineProperty(object, `p${at}`, {
        enumerable: true,
        get() {
          for (let left = isFirst ? 1 + below(3) : 0; left > 0; left--) send(depth + 1);
          isFirst = false;
          return at;
        },
      });
    }
    if (next() < 0.15) object.own = { toJSON: () => 1 };
    return object;
  }

  const row = (id, depth) => ({ id, type: 'row', timestamp: 1, payload: content(id, depth) });
  const publish = (name, depth) =>
    publisher.publish({ id: name, type: 'row', payload: content(name, depth) });
  const ways = [
    (name, depth) => client.send(content(name, depth)),
    (name, depth) => client.send(content(name, depth), { ack: true }),
    (name) => client.send(name),
    (name) => client.send(name, { ack: true }),
    (name, depth) => client.request(content(name, depth)),
    (name, depth) => client.request(content(name, depth), { attempts: 2 }),
    (name, depth) => other.send(content(name, depth)),
    publish,
    (name, depth) => queue.enqueueAsync(row(name, depth)),
    (name, depth) => queue.enqueueMany([row(name, depth)]),
    (name, depth) => queue.enqueue(row(name, depth)),
  ];

  function send(depth) {
    const name = `m${++last}`;
    const way = below(ways.length);
    const done = async () => {
      await ways[way](name, depth);
      // A slow machine may store what is also handled.
      accepted.set(name, ways[way] === publish);
    };
    underWay.push(done());
  }

  for (let tick = isLong ? 20_000 : 500; tick > 0; tick--) {
    for (let left = 1 + below(6); left > 0; left--) send(0);
    // Also what their getters have sent.
    while (underWay.length > 0) await underWay.pop();
  }
  const onSocket = () => [...accepted.keys()].filter((name) => arrived.has(name)).length;
  const stored = new Set();
  for (;;) {
    const rows = queue.dequeue(500);
    if (rows.length === 0) break;
    for (const { id } of rows) {
      stored.add(id);
      queue.markProcessed(id);
    }
  }
  for (const name of stored) if (!arrived.has(name)) count(name);
  await until(() => onSocket() === accepted.size, 'every accepted message');
  assert.equal(accepted.size, last);
  const twice = [...accepted].filter(([name, mayBeTwice]) => !mayBeTwice && arrived.get(name) > 1);
  assert.deepEqual(twice, []);
});
