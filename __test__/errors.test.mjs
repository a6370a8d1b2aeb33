import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { faceCodes } from '../dist/errors.js';

const read = (path) => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');

test('docs/errors.md has one heading for each code, in order', () => {
  const core = [...read('src/error.rs').matchAll(/=> "(ERR_IPC_[A-Z_]+)"/g)].map(
    ([, code]) => code,
  );
  assert.ok(core.length > 10);
  const expected = [...new Set([...core, ...faceCodes])].sort();
  const headings = [...read('docs/errors.md').matchAll(/^## (\S+)$/gm)].map(([, code]) => code);
  assert.deepEqual([...headings].sort(), headings, 'headings are sorted');
  assert.deepEqual(headings, expected);
});

test('the face raises only codes that are listed', () => {
  const core = [...read('src/error.rs').matchAll(/=> "(ERR_IPC_[A-Z_]+)"/g)].map(
    ([, code]) => code,
  );
  const files = [
    'batch-sender',
    'client',
    'requests',
    'server',
    'frames',
    'queue',
    'poller',
    'poll-loop',
    'native',
    'options',
  ];
  for (const file of files) {
    for (const [, code] of read(`ts/${file}.ts`).matchAll(/'(ERR_IPC_[A-Z_]+)'/g)) {
      assert.ok(faceCodes.includes(code) || core.includes(code), `${file}: ${code}`);
    }
  }
});
