// The table of docs/delivery.md names a test for every way to lose or double a message.
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';

const page = readFileSync(new URL('../docs/delivery.md', import.meta.url), 'utf8');
const folder = new URL('./', import.meta.url);

/** The rows of the table of loss and duplication points, their cells trimmed. */
const rows = page
  .split('\n')
  .filter((line) => /^\| [LD]\d+ /.test(line))
  .map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );

test('every point of the table is there', () => {
  const points = rows.map(([where]) => where.split(' ')[0]);
  const numbered = (letter, count) => Array.from({ length: count }, (_, n) => `${letter}${n + 1}`);
  assert.deepEqual(points, [...numbered('L', 14), ...numbered('D', 4)]);
});

test('every test that the table names exists', () => {
  const sources = new Map();
  for (const name of readdirSync(folder)) {
    if (name.endsWith('.test.mjs')) {
      sources.set(name.replace('.test.mjs', ''), readFileSync(new URL(name, folder), 'utf8'));
    }
  }
  for (const [where, , tests] of rows) {
    const named = tests.split(/[;,] /);
    for (const entry of named.filter((entry) => entry.includes('`'))) {
      const [, name] = /`([^`]+)`/.exec(entry);
      if (name.includes('::')) {
        const file = new URL(`../src/${name.replace('::', '/')}.rs`, import.meta.url);
        assert.ok(existsSync(file), `${where}: ${name}`);
        assert.match(readFileSync(file, 'utf8'), /#\[cfg\(test\)\]/, name);
        continue;
      }
      assert.ok(sources.has(name), `${where}: ${name}`);
      const title = /_([^_]+)_/.exec(entry)?.[1];
      if (title !== undefined) assert.ok(sources.get(name).includes(title), `${where}: ${title}`);
    }
  }
});
