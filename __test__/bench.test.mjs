// The benchmark's own arithmetic and pictures, and that a scenario runs with ours alone, without
// any of the packages that it compares with. What it measures is nobody's business here.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { bars, chart } from '../bench/lib/chart.mjs';
import { curves } from '../bench/lib/curves.mjs';
import { numbered, pool } from '../bench/lib/messages.mjs';
import { atLeast, atMost, isMet, METRICS } from '../bench/lib/metrics.mjs';
import { runCase } from '../bench/lib/runner.mjs';
import { quantile, ratio, summary } from '../bench/lib/stats.mjs';
import { number, table, verdict } from '../bench/lib/table.mjs';
import { scenarios } from '../bench/scenarios/index.mjs';
import { root } from '../scripts/tools.mjs';

const folder = mkdtempSync(join(tmpdir(), 'ipc-'));
after(() => rmSync(folder, { recursive: true, force: true }));

test('medians have a range, and ratios are those of paired rounds', () => {
  assert.deepEqual(summary([3, 1, 2]), { median: 2, min: 1, max: 3 });
  assert.deepEqual(summary([10, 1, 2, 3]), { median: 2.5, min: 1, max: 10 });
  assert.equal(quantile([5, 1, 4, 2, 3], 0.5), 3);
  assert.equal(quantile([1, 2], 1), 2);
  assert.equal(quantile([7], 0.99), 7);
  assert.ok(Number.isNaN(quantile([], 0.5)));
  // A slow round of the machine slows both; the ratio of the medians would be 3 / 2.
  assert.deepEqual(ratio([2, 20, 3], [1, 10, 2]), { median: 2, min: 1.5, max: 2 });
  // A round that one of them does not have is left out.
  assert.deepEqual(ratio([4, 6], [2]), { median: 2, min: 2, max: 2 });
});

test('a target is met on its own side, its bound included', () => {
  for (const [target, median, met] of [
    [atLeast(2, 'rate', 'plain'), 2, true],
    [atLeast(2, 'rate', 'plain'), 1.99, false],
    [atMost(1.2, 'cpu', 'json'), 1.2, true],
    [atMost(1.2, 'cpu', 'json'), 1.21, false],
  ]) {
    assert.equal(isMet(target, median), met, `${target.kind} ${target.value}: ${median}`);
  }
});

/** Subjects that measure nothing: each round gives the next of these values. */
function invented() {
  const scenario = {
    name: 'invented',
    title: 'Invented',
    file: new URL('./fixtures/bench-role.mjs', import.meta.url),
    children: () => ({ counter: 1 }),
    async round({ counter }, { values }) {
      return values[await counter.call('next')];
    },
  };
  // The warm-up takes the first.
  return { scenario, subject: (name, values) => ({ name, params: { values } }) };
}

const options = { dataFolder: folder, rounds: 2, unavailable: () => undefined };

describe('a case', () => {
  test('runs subjects in turn, and compares them with ours', async () => {
    const { scenario, subject } = invented();
    const result = await runCase(
      scenario,
      {
        label: 'case',
        params: {},
        subjects: [
          subject('ours', [{ rate: 1 }, { rate: 30, cpu: 2 }, { rate: 10, cpu: 4 }]),
          subject('plain', [{ rate: 1 }, { rate: 10, cpu: 4 }, { rate: 5, cpu: 4 }]),
          subject('other', [{ rate: 1 }, { rate: 60 }, { rate: 40 }]),
          subject('broken', []),
        ],
        targets: [atLeast(3, 'rate', 'plain'), atMost(1, 'cpu', 'absent'), atMost(3, 'cpu')],
      },
      options,
    );
    assert.deepEqual(result.subjects.ours.rate, { median: 20, min: 10, max: 30 });
    assert.deepEqual(
      result.comparisons.map(({ metric, against, ratio: { median }, met }) => [
        metric,
        against,
        median,
        met,
      ]),
      [
        ['rate', 'plain', 2.5, false],
        ['cpu', undefined, 3, true],
        ['cpu', 'plain', 0.75, undefined],
        ['rate', 'other', 0.375, undefined],
      ],
    );
    assert.deepEqual(result.missed, [{ metric: 'cpu', against: 'absent' }]);
    assert.equal(result.failed, false);
    assert.equal(result.notes.length, 1);
    assert.match(result.notes[0], /^broken failed: /);
    assert.ok(result.subjects.ours.memory.median > 0);
  });

  test('tells what cannot be measured instead of failing', async () => {
    const { scenario, subject } = invented();
    const testCase = {
      label: 'case',
      params: {},
      subjects: [subject('ours', [{}, { rate: 2 }, { rate: 2 }]), subject('zeromq', [])],
    };
    const unavailable = (name) => (name === 'zeromq' ? 'not installed' : undefined);
    const { notes, subjects } = await runCase(scenario, testCase, { ...options, unavailable });
    assert.deepEqual(notes, ['zeromq: not installed']);
    assert.deepEqual(Object.keys(subjects), ['ours']);
  });

  test('says when ours fails', async () => {
    const { scenario, subject } = invented();
    const testCase = { label: 'case', params: {}, subjects: [subject('ours', [])] };
    const result = await runCase(scenario, testCase, options);
    assert.equal(result.failed, true);
    assert.deepEqual(result.comparisons, []);
  });
});

describe('with ours alone', () => {
  const sizes = {
    throughput: { count: 64 },
    latency: { count: 3 },
    request: { count: 20 },
    enqueue: { count: 5 },
    dequeue: { count: 60 },
  };
  for (const [name, params] of Object.entries(sizes)) {
    test(`${name} measures something`, async () => {
      const scenario = scenarios.find((one) => one.name === name);
      const [testCase] = scenario.cases({ quick: true, rows: 1_000 });
      const small = { ...testCase, params: { ...testCase.params, ...params }, rounds: 1 };
      const result = await runCase(scenario, small, { ...options, only: ['ours'] });
      assert.deepEqual(result.notes, []);
      const [values] = Object.values(result.subjects);
      for (const [metric, { median }] of Object.entries(values)) {
        assert.ok(METRICS[metric] !== undefined, `${metric} has a unit`);
        assert.ok(median > 0, `${metric}: ${median}`);
      }
    });
  }
});

test('every scenario has a name of its own, cases, and targets about its subjects', () => {
  assert.equal(new Set(scenarios.map(({ name }) => name)).size, scenarios.length);
  for (const quick of [true, false]) {
    for (const { name, cases } of scenarios) {
      for (const { label, subjects, subject, targets = [] } of cases({ quick, rows: 10_000 })) {
        const names = subjects.map((one) => one.name ?? one);
        assert.equal(new Set(names).size, names.length, `${name} ${label}`);
        for (const { of = subject ?? 'ours', against, metric } of targets) {
          assert.ok(names.includes(of), `${name} ${label}: ${of}`);
          assert.ok(against === undefined || names.includes(against), `${name}: ${against}`);
          assert.ok(METRICS[metric] !== undefined, metric);
        }
      }
    }
  }
});

test('messages have about the length that is asked for, and are not alike', () => {
  for (const [bytes, shape] of [
    [200],
    [2_000],
    [20_000],
    [2_000, 'text'],
    [2_000, 'rows'],
    [2_000, 'map'],
  ]) {
    const texts = pool({ bytes, shape }).map((message) => JSON.stringify(message));
    assert.equal(new Set(texts).size, texts.length);
    for (const text of texts) {
      const length = Buffer.byteLength(text);
      assert.ok(length > bytes * 0.8 && length < bytes * 1.2, `${length} of ${bytes}`);
    }
    assert.deepEqual(
      pool({ bytes, shape }).map((message) => JSON.stringify(message)),
      texts,
    );
  }
  const ids = numbered(pool({ bytes: 200 }), 'a', 5_000).map(({ id }) => id);
  assert.equal(new Set(ids).size, 5_000);
});

const result = {
  scenario: 'throughput',
  title: 'One-way throughput',
  label: '200 B <1>',
  subjectParams: {},
  subjects: {
    ours: {
      rate: { median: 600_000, min: 1, max: 2 },
      cpu: { median: 4, min: 4, max: 4 },
      memory: { median: 50, min: 50, max: 50 },
    },
    plain: { rate: { median: 200_000, min: 1, max: 2 }, memory: { median: 60, min: 60, max: 60 } },
    json: { cpu: { median: 2, min: 2, max: 2 } },
  },
  comparisons: [
    {
      of: 'ours',
      metric: 'rate',
      against: 'plain',
      ratio: { median: 3, min: 2.5, max: 3.5 },
      target: atLeast(3, 'rate', 'plain'),
      met: true,
    },
    {
      of: 'ours',
      metric: 'cpu',
      against: 'json',
      ratio: { median: 2, min: 2, max: 2 },
      target: atMost(1.6, 'cpu', 'json'),
      met: false,
    },
  ],
  missed: [{ metric: 'cpu', against: 'absent' }],
  notes: ['zeromq: not installed'],
};

test('the table shows ratio, target and verdict', () => {
  const lines = table([result]).split('\n');
  assert.match(lines[2], /^throughput 200 B <1> +messages\/s +600,000 +plain +200,000 /);
  assert.match(lines[2], /3\.00× \(2\.50 … 3\.50\) +≥ 3× +met +50\.0 \/ 60\.0$/);
  assert.match(lines[3], /^ +µs CPU\/message .* ≤ 1\.6× +MISSED/);
  assert.match(lines[4], /zeromq: not installed$/);
  const text = verdict([result]);
  assert.match(text, /^1 of 2 targets met\./);
  assert.match(text, /missed: throughput .*against json: 2\.00, target ≤ 1\.6×/);
  assert.match(text, /not measured: throughput .*against absent/);
  assert.deepEqual([1234.5, 12.345, 1.2345, Number.NaN].map(number), ['1,235', '12.3', '1.23', '']);
});

const machine = { cpu: 'A & B', cores: 2, os: 'linux', node: 'v20', date: '2026-01-01' };

test('the picture has a bar for each target, longer for better', () => {
  assert.deepEqual(
    bars(result).map(({ against, times, target }) => [against, times, target]),
    [
      ['plain', 3, 3],
      ['json', 0.5, 1 / 1.6],
    ],
  );
  const backlog = {
    ...result,
    comparisons: [],
    curve: { by: 'rows' },
    subjectParams: { a: { rows: 10 }, b: { rows: 100 }, c: { rows: 1_000 } },
    subjects: Object.fromEntries(
      ['a', 'b', 'c'].map((name, at) => [
        name,
        { dequeue: { median: at + 1 }, memory: { median: 9 } },
      ]),
    ),
  };
  const [curve] = curves([backlog]);
  assert.deepEqual(curve.series[0].points, [
    [10, 1, 9],
    [100, 2, 9],
    [1_000, 3, 9],
  ]);
  const text = chart({ machine, package: '1.0.0', results: [result, backlog] });
  // Well formed: what is opened is closed, and no sign of the text is taken for markup.
  assert.match(text, /200 B &#60;1&#62;/);
  assert.match(text, /A &#38; B/);
  assert.doesNotMatch(text, /NaN|undefined|Infinity/);
  const open = [];
  for (const [, close, name, self] of text.matchAll(/<(\/?)(\w+)[^>]*?(\/?)>/g)) {
    if (close) assert.equal(open.pop(), name);
    else if (!self) open.push(name);
  }
  assert.deepEqual(open, []);
  assert.match(text, /prefers-color-scheme: dark/);
});

test('the command lists its scenarios, and refuses others', () => {
  const run = (...args) =>
    spawnSync(process.execPath, [join(root, 'bench', 'run.mjs'), ...args], { encoding: 'utf8' });
  const help = run('--help');
  assert.equal(help.status, 0);
  for (const { name } of scenarios) assert.ok(help.stdout.includes(name), name);
  assert.equal(run('--only', 'nothing').status, 2);
  assert.equal(run('--rounds', 'x').status, 2);
  const { files } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  // Of all this only the pictures are part of the package: the README shows one.
  assert.deepEqual(
    files.filter((file) => file.startsWith('bench')),
    ['bench/results/*.svg'],
  );
});
