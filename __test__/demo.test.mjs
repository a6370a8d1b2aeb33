import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { CandleSource } from '../examples/demo/candles.mjs';
import { compare, Ledger, readLedger } from '../examples/demo/ledger.mjs';
import { parseOptions, UsageError } from '../examples/demo/options.mjs';
import { summarize, table, verdict } from '../examples/demo/report.mjs';

const file = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));

let folder;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ipc-demo-test-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/**
 * Starts the demonstration with a temporary folder of its own. `ended` resolves when nobody holds
 * its output any more, that is when the child processes, who inherit it, are gone too.
 */
function start(args, script = 'examples/demo/demo.mjs') {
  const child = spawn(process.execPath, [file(script), ...args], {
    env: { ...process.env, TMPDIR: folder },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended = Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]).then(
    ([stdout, stderr, [code, signal]]) => ({ stdout, stderr, code, signal }),
  );
  return { child, ended };
}

/** Resolves when the output so far matches. */
function says(stream, pattern) {
  return new Promise((resolve, reject) => {
    let seen = '';
    stream.on('data', (chunk) => {
      seen += chunk;
      if (pattern.test(seen)) resolve();
    });
    stream.on('end', () => reject(new Error(`ended without ${pattern}: ${seen}`)));
  });
}

describe('a run', () => {
  test('loses nothing although the persistence process is killed', async () => {
    const args = '--seconds 4 --kills 2 --outage-ms 800 --workers 2 --rate 100 --seed 7 --json';
    const { stdout, stderr, code } = await start(args.split(' ')).ended;
    assert.equal(code, 0, stderr);
    const summary = JSON.parse(stdout);
    assert.equal(summary.ok, true);
    for (const fault of ['lost', 'repeated', 'altered', 'unexpected']) {
      assert.equal(summary[fault], 0, fault);
    }
    const { socket, queue } = summary.received;
    assert.equal(socket + queue, summary.sent);
    assert.ok(socket > 0 && queue > 0, `socket ${socket}, queue ${queue}`);
    assert.ok(summary.kills >= 1 && summary.failovers >= 1);
    const { min, max } = summary.candleBytes;
    assert.ok(min >= 600 && max <= 20_000, `${min} to ${max} bytes`);
    for (const via of ['socket', 'queue']) {
      const { p50, p90, p99, max: worst } = summary.latencyMs[via];
      assert.ok(0 <= p50 && p50 <= p90 && p90 <= p99 && p99 <= worst, via);
    }
    assert.match(stderr, /kill 1: the persistence process was killed/);
    assert.deepEqual(readdirSync(folder), [], 'the folder is removed');
  });

  test('that is interrupted ends early, with its table', async () => {
    const { child, ended } = start('--seconds 3600 --kills 0 --workers 1'.split(' '));
    await says(child.stdout, /via socket [1-9]/);
    child.kill('SIGINT');
    const { stdout, stderr, code } = await ended;
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^lost +0$/m);
    assert.match(stdout, /^OK: all [\d,]+ candles arrived/m);
    assert.deepEqual(readdirSync(folder), []);
  });

  test('fails when a candle is missing, names it and keeps the ledgers', async () => {
    const { child, ended } = start('--seconds 3600 --kills 0 --workers 1'.split(' '));
    await says(child.stdout, /via socket [1-9]/);
    const [kept] = readdirSync(folder);
    const ghost = { id: 'ghost', at: Date.now(), bytes: 600, digest: 'none' };
    appendFileSync(join(folder, kept, 'sent-1.ndjson'), `${JSON.stringify(ghost)}\n`);
    child.kill('SIGTERM');
    const { stdout, code } = await ended;
    assert.equal(code, 1);
    assert.match(stdout, /^lost +1$/m);
    assert.match(stdout, /^FAILED: of [\d,]+ candles 1 lost\. Lost: ghost\.$/m);
    assert.deepEqual(readdirSync(folder), [kept]);
  });

  test('that is killed leaves no process behind', async () => {
    const { child, ended } = start('--seconds 3600 --kills 0 --workers 2'.split(' '));
    await says(child.stdout, /via socket [1-9]/);
    child.kill('SIGKILL');
    assert.equal((await ended).signal, 'SIGKILL');
  });

  test('keeps its folder when told to', async () => {
    const { stdout, code } = await start('--seconds 1 --kills 0 --workers 1 --keep'.split(' '))
      .ended;
    assert.equal(code, 0);
    const [kept] = readdirSync(folder);
    assert.ok(stdout.includes(join(folder, kept)));
    const sent = readLedger(join(folder, kept, 'sent-1.ndjson'));
    const handled = readLedger(join(folder, kept, 'handled.ndjson'));
    assert.equal(compare(sent, handled).ok, true);
  });
});

describe('options', () => {
  const mistakes = [
    ['--speed', '9'],
    ['--rate', '0'],
    ['--rate', '1.5'],
    ['--workers', 'many'],
    ['--workers'],
    ['--seconds', '-1'],
    ['--seed', '4294967296'],
    ['--min-bytes', '599'],
    ['--min-bytes', '800', '--max-bytes', '1249'],
    ['candles'],
  ];
  for (const args of mistakes) {
    test(`refuses ${args.join(' ')}`, () => {
      assert.throws(() => parseOptions(args), UsageError);
    });
  }

  test('have defaults, and names in camel case', () => {
    const { workers, seconds, outageMs, maxBytes, json } = parseOptions(['--outage-ms', '5']);
    assert.deepEqual(
      { workers, seconds, outageMs, maxBytes, json },
      { workers: 3, seconds: 15, outageMs: 5, maxBytes: 20_000, json: false },
    );
  });

  // Both ways to start answer before anything is installed, built or loaded.
  for (const script of ['scripts/start.mjs', 'examples/demo/demo.mjs']) {
    test(`a mistake ends ${script} with 2 and the usage`, async () => {
      const { stdout, stderr, code } = await start(['--rate', 'fast'], script).ended;
      assert.equal(code, 2);
      assert.equal(stdout, '');
      assert.match(stderr, /--rate must be a whole number.*\n\nUsage: npm start/);
    });

    test(`${script} --help prints the usage`, async () => {
      const { stdout, stderr, code } = await start(['--help'], script).ended;
      assert.equal(code, 0);
      assert.equal(stderr, '');
      assert.match(stdout, /^Usage: npm start/);
    });
  }
});

describe('the oracle', () => {
  const sent = ['a', 'b', 'c'].map((id, index) => ({
    id,
    at: 1_000 + index,
    bytes: 600,
    digest: `digest of ${id}`,
  }));
  const handled = sent.map(({ id, at, digest }) => ({ id, via: 'socket', at: at + 5, digest }));
  const faults = { lost: [], repeated: [], altered: [], unexpected: [] };
  const cases = [
    ['finds nothing wrong', handled, { ok: true }],
    ['flags a lost candle', handled.slice(0, 2), { lost: ['c'] }],
    [
      'flags a candle that was dropped as a duplicate of nothing',
      [...handled.slice(1), { id: 'a', via: 'queue', duplicate: true }],
      { lost: ['a'], duplicates: 1 },
    ],
    ['flags a candle handled twice', [...handled, handled[1]], { repeated: ['b'] }],
    [
      'flags a changed candle',
      [{ ...handled[0], digest: 'other' }, ...handled.slice(1)],
      {
        altered: ['a'],
      },
    ],
    [
      'flags a candle that nobody sent',
      [...handled, { ...handled[0], id: 'z' }],
      {
        unexpected: ['z'],
      },
    ],
    [
      'lets dropped duplicates pass',
      [...handled, { id: 'a', via: 'queue', duplicate: true }],
      {
        ok: true,
        duplicates: 1,
      },
    ],
  ];
  for (const [name, entries, expected] of cases) {
    test(name, () => {
      const { received, ...result } = compare(sent, entries);
      assert.deepEqual(result, { ok: false, duplicates: 0, ...faults, ...expected });
    });
  }

  function write(name, entries) {
    const path = join(folder, name);
    const ledger = new Ledger(path);
    for (const entry of entries) ledger.append(entry);
    ledger.close();
    return path;
  }

  test('says so in the table and in the last line', () => {
    const summary = summarize([write('sent', sent)], write('handled', handled.slice(1)));
    assert.deepEqual([summary.ok, summary.sent, summary.lost], [false, 3, 1]);
    assert.deepEqual(summary.latencyMs, {
      socket: { p50: 5, p90: 5, p99: 5, max: 5 },
      queue: null,
    });
    assert.match(table({ ...summary, kills: 0, failovers: 0 }), /^lost +1$/m);
    assert.equal(verdict(summary), 'FAILED: of 3 candles 1 lost. Lost: a.');
  });

  test('takes a missing ledger for an empty one', () => {
    const summary = summarize([write('sent', sent)], join(folder, 'none'));
    assert.equal(summary.lost, 3);
  });

  test('ignores the half line of a killed process, and writes no further into it', () => {
    const path = write('ledger', [{ id: 'a' }]);
    appendFileSync(path, '{"id":"b","vi');
    assert.deepEqual(readLedger(path), [{ id: 'a' }]);
    const ledger = new Ledger(path);
    ledger.append({ id: 'c' });
    ledger.close();
    assert.deepEqual(readLedger(path), [{ id: 'a' }, { id: 'c' }]);
    writeFileSync(path, '{"id":"a"');
    assert.deepEqual(readLedger(path), []);
  });
});

describe('candles', () => {
  const make = (settings, count) => {
    const source = new CandleSource({ seed: 1, minBytes: 600, maxBytes: 20_000, ...settings });
    return Array.from({ length: count }, () => source.next());
  };
  const text = (value) => typeof value === 'string';
  const filled = (value) => text(value) && value !== '';
  const natural = (value) => Number.isInteger(value) && value >= 0;
  const amount = (value) => Number.isFinite(value) && value >= 0;
  const rules = [
    ['e tz ex a', text],
    ['s i', filled],
    ['vi', (value) => natural(value) && value > 0],
    ['t ct n f ls', natural],
    ['o h l c v bv sv q bq sq', amount],
    ['d dMax dMin bm ebs', Number.isFinite],
    ['tv', (value) => amount(value) && value > 0],
    ['aggs', Array.isArray],
    ['x', (value) => value === true],
  ];
  const levelRules = [
    ['tp', Number.isFinite],
    ['bv sv v bq sq q', amount],
  ];

  function check(object, rules) {
    const expected = new Map(
      rules.flatMap(([names, rule]) => names.split(' ').map((name) => [name, rule])),
    );
    assert.deepEqual(Object.keys(object).sort(), [...expected.keys()].sort());
    for (const [name, rule] of expected) assert.ok(rule(object[name]), `${name}: ${object[name]}`);
  }

  test('have exactly the fields of the contract, and add up', () => {
    for (const { candle, json } of make({}, 300)) {
      check(candle, rules);
      assert.deepEqual(JSON.parse(json), candle);
      for (const level of candle.aggs) check(level, levelRules);
      for (const sum of ['v', 'bv', 'sv', 'q', 'bq', 'sq']) {
        const total = candle.aggs.reduce((total, level) => total + level[sum], 0);
        assert.ok(Math.abs(total - candle[sum]) < 1e-3, `${sum}: ${total}, ${candle[sum]}`);
      }
      assert.ok(candle.l <= Math.min(candle.o, candle.c));
      assert.ok(candle.h >= Math.max(candle.o, candle.c));
      assert.equal(candle.ls - candle.f + 1, candle.n);
    }
  });

  for (const [minBytes, maxBytes] of [
    [600, 20_000],
    [600, 1_000],
    [19_000, 20_000],
  ]) {
    test(`have ${minBytes} to ${maxBytes} bytes`, () => {
      for (const { json } of make({ minBytes, maxBytes }, 300)) {
        assert.ok(json.length >= minBytes && json.length <= maxBytes, `${json.length}`);
      }
    });
  }

  test('depend on the seed alone', () => {
    const jsons = (seed) => make({ seed }, 20).map(({ json }) => json);
    assert.deepEqual(jsons(5), jsons(5));
    assert.notDeepEqual(jsons(5), jsons(6));
  });
});
