// Notes of messages and the buffers that they share.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Notebook } from '../dist/message-body.js';
import { ValueBuffer } from '../dist/value-writer.js';

const MAX = 1e9;

test('messages keep their notes, whatever becomes of those beside them', () => {
  const notebook = new Notebook();
  const messages = Array.from({ length: 3_000 }, (_, n) => ({
    id: n,
    [`key ${n % 7}`]: [n / 3, 'ü'.repeat(n % 60)],
    ...(n % 500 === 250 && { text: 'x'.repeat(100_000) }),
  }));
  const noted = messages.map((message) => notebook.add(message, MAX));
  for (const [n, each] of noted.entries()) if (n % 3 === 0) each.release();
  // Others take what was given back.
  const others = messages.map((message) => notebook.add({ other: message }, MAX));
  for (const [n, each] of noted.entries()) {
    if (n % 3 === 0) continue;
    assert.equal(each.json(), JSON.stringify(messages[n]));
    each.release();
  }
  for (const [n, each] of others.entries()) {
    assert.equal(each.json(), JSON.stringify({ other: messages[n] }));
  }
});

test('a long message has a buffer of its own', () => {
  const notebook = new Notebook();
  const short = notebook.add({ id: 1 }, MAX);
  const long = notebook.add({ id: 2, text: 'x'.repeat(1_000_000) }, MAX);
  assert.notEqual(long.values, short.values);
  let bytes = 0;
  short.values.handTo((buffer) => {
    bytes = buffer.length;
  });
  assert.ok(bytes < 100_000, `${bytes} bytes stay for a short message`);
  assert.equal(short.json(), '{"id":1}');
  assert.equal(long.json().length, 1_000_000 + '{"id":2,"text":""}'.length);
});

test('what was given back is not used', () => {
  const noted = new Notebook().add({ id: 1 }, MAX);
  noted.release();
  noted.release();
  assert.throws(() => noted.json(), /given up/);
  const buffer = ValueBuffer.take();
  buffer.release();
  assert.throws(() => buffer.release(), /given back/);
  assert.throws(() => buffer.share(), /given back/);
});
