// The binding and the face keep the kinds of events in one order each; nothing but this compares
// them, and a slip would send every event to the wrong listener. So with the tokens of values.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import test from 'node:test';

const read = (path) => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');

/** The body of a declaration, up to the brace that closes it. */
function body(text, begin) {
  const from = text.indexOf(begin);
  assert.ok(from >= 0, `no ${begin}`);
  return text.slice(from + begin.length, text.indexOf('\n}', from));
}

const core = [
  ...body(read('src/binding/events.rs'), 'enum Kind {').matchAll(/\/\/\/ (.*)\n\s+(\w+),/g),
].map(([, elements, name]) => ({
  name,
  // The first one is the endpoint, which the face reads by itself.
  elements: elements
    .replace(/\[.*\]/, 'list')
    .split(', ')
    .slice(1),
}));
const kinds = core.map(({ name }) => name);

test('the kinds of events stand in the same order on both sides', () => {
  const face = [...body(read('ts/native.ts'), 'enum EventKind {').matchAll(/^\s+(\w+),/gm)];
  assert.ok(kinds.length > 10);
  assert.deepEqual(
    face.map(([, name]) => name),
    kinds,
  );
});

test('the face reads the elements that the binding writes', () => {
  const begin = 'const ELEMENTS: Record<EventKind, readonly Form[]> = {';
  const table = body(read('ts/hub-events.ts'), begin);
  const forms = [...table.matchAll(/\[EventKind\.(\w+)\]: \[([^\]]*)\]/g)].map(([, name, list]) => [
    name,
    list === '' ? [] : list.replaceAll('Form.', '').toLowerCase().split(', '),
  ]);
  assert.deepEqual(
    forms.map(([name, list]) => [name, list.length]),
    core.map(({ name, elements }) => [name, elements.length]),
  );
  for (const [at, [name, list]] of forms.entries()) {
    for (const [place, form] of list.entries()) {
      const told = core[at].elements[place];
      const expected = ['bytes', 'list'].includes(told) ? told : /^(number|flag|value)$/;
      assert.match(form, new RegExp(expected), `${name}: ${told}`);
    }
  }
});

test('the tokens of values stand in the same order on both sides', () => {
  const names = (text) => [...text.matchAll(/^\s+(\w+),/gm)].map(([, name]) => name);
  const tokens = names(body(read('src/values/mod.rs'), 'enum Token {'));
  assert.ok(tokens.length > 10);
  assert.deepEqual(names(body(read('ts/value-tokens.ts'), 'enum Token {')), tokens);
});

test('the bundle keeps the names of what it exports', () => {
  const exported = createRequire(import.meta.url)('..');
  const functions = Object.entries(exported).filter(([, value]) => typeof value === 'function');
  const names = functions.map(([name]) => name).filter((name) => !/[vV]alidate/.test(name));
  assert.ok(names.length > 10);
  assert.deepEqual(
    names.map((name) => exported[name].name),
    names,
  );
});

test('the functions of the addon refuse what they do not take', () => {
  const { addon } = createRequire(import.meta.url)('../dist/native.js');
  const hub = new addon.NativeHub(() => {});
  const four = new Uint8Array(4).fill(255);
  const wrong = [
    () => hub.write(),
    () => hub.write('1', 'text'),
    () => hub.write(1, 2),
    () => hub.writeBytes(1, 'text', 1),
    () => hub.writeBytes(1, new Float64Array(1), 1),
    () => hub.writeBytes(1, four, 5),
    () => hub.writeValues(1, four, 0, 5, 0, 0),
    () => hub.writeValues(1, four, 3, 2, 0, 0),
    () => hub.writeValues(1, four, 0, 4, 4, 4),
    () => hub.settle(1, 2),
    () => hub.isConnected(),
  ];
  for (const call of wrong) assert.throws(call, { code: 'ERR_IPC_INTERNAL' }, String(call));
  assert.throws(() => hub.write(1, '\n\0\0\0{}'), { code: 'ERR_IPC_CONNECTION_LOST' });
  hub.settle(1, 2, 3);
  assert.equal(hub.isConnected(1), 0);
  hub.close();
  assert.throws(() => hub.write(1, '\n\0\0\0{}'), { code: 'ERR_IPC_INTERNAL' });
});
