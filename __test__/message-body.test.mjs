// Notes of messages and the buffers that they share.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
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

test('the length of a message is about that of its JSON text', () => {
  const notebook = new Notebook();
  const messages = [
    { text: 'y'.repeat(10_000) },
    { text: 'ü'.repeat(1_000), short: 'ab' },
    Array(5_000).fill(false),
    Array.from({ length: 1_000 }, (_, n) => n / 7),
    Array.from({ length: 1_000 }, (_, n) => n * 1_000_003),
    { a: { b: { c: [{ d: null }, { d: 1.5 }] } }, [`${'k'.repeat(150)}`]: 1 },
  ];
  for (const message of messages) {
    const ratio = notebook.add(message, MAX).length / JSON.stringify(message).length;
    assert.ok(ratio > 0.8 && ratio < 2, `${ratio} times ${JSON.stringify(message).slice(0, 40)}`);
  }
});

test('any number of shapes takes bounded memory', () => {
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc');
  const fields = Object.fromEntries(
    Array.from({ length: 200 }, (_, n) => [`a longer key ${n}`, n]),
  );
  const bytes = () => {
    gc();
    return process.memoryUsage().arrayBuffers;
  };
  const before = bytes();
  const notebook = new Notebook();
  for (let n = 0; n < 5_000; n++) {
    const noted = notebook.add({ ...fields, [`d${n}`]: 0 }, MAX);
    if (n % 10 === 0) assert.ok(noted.json().endsWith(`"d${n}":0}`));
    noted.release();
  }
  const grown = bytes() - before;
  assert.ok(grown < 8 * 2 ** 20, `${grown} bytes`);
});
