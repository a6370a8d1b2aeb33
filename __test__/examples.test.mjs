// The example of a persistence service and its workers, as the processes that they are.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { root, start } from '../consumers/tools.mjs';
import { CandleStore } from '../examples/service/candle-store.mjs';
import { createIPCClient, createRuntimeDatabase } from '../index.mjs';
import { dtoExamples } from './support/dtos.mjs';

const MINUTE_MS = 60_000;
const BEGIN = Date.UTC(2025, 0, 1);
const SYMBOLS = ['BTCUSDT', 'ETHUSDT', 'SOLUSDT'];

/** Short, because the path of a socket in it is limited. */
let folder;
let children;
let clients;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ipc-'));
  mkdirSync(at('candles'));
  children = [];
  clients = [];
});

afterEach(async () => {
  for (const client of clients) client.disconnect();
  for (const { child } of children) child.kill('SIGKILL');
  await Promise.all(children.map(({ ended }) => ended));
  rmSync(folder, { recursive: true, force: true });
});

function at(name) {
  return join(folder, name);
}

function run(name, ...args) {
  const script = join(root, 'examples', 'service', `${name}.mjs`);
  const running = start(process.execPath, [script, at('ipc.sock'), at('runtime.db'), ...args], {
    timeoutMs: 60_000,
  });
  children.push(running);
  return running;
}

async function startPersistence() {
  const running = run('persistence', at('candles'));
  await running.says(/"event":"listening"[\s\S]*"event":"health"/);
  return running;
}

async function kill({ child, ended }) {
  child.kill('SIGKILL');
  await ended;
}

function connect() {
  const client = createIPCClient({ socketPath: at('ipc.sock') });
  clients.push(client);
  return {
    client,
    request: (type, payload) =>
      client.request({ type, payload }, { attempts: 10, timeoutMs: 10_000 }),
  };
}

/** What a worker is given, and what has to come of it. */
class Trades {
  #ids = new Map(SYMBOLS.map((symbol) => [symbol, 0]));
  #minute = 0;
  all = [];
  gaps = [];

  /** Trades of one minute of all symbols; those of one symbol skip some ids at its end. */
  minute({ gapIn } = {}) {
    const openedAt = BEGIN + this.#minute++ * MINUTE_MS;
    const trades = [];
    for (let index = 0; index < 30; index++) {
      const symbol = SYMBOLS[index % SYMBOLS.length];
      const id = this.#ids.get(symbol) + 1;
      this.#ids.set(symbol, id);
      const price = 100 + (index % 7) / 2;
      const time = openedAt + index * 1_000;
      trades.push({ symbol, id, at: time, price, quantity: 0.25, buy: index % 2 === 0 });
    }
    if (gapIn !== undefined) {
      const from = this.#ids.get(gapIn);
      this.#ids.set(gapIn, from + 4);
      this.gaps.push({ symbol: gapIn, fromTradeId: from, toTradeId: from + 5, gapSize: 4 });
    }
    this.all.push(...trades);
    return trades.map((trade) => `${JSON.stringify(trade)}\n`).join('');
  }

  /** Trades and volume of each symbol and minute. */
  expected() {
    const sums = new Map();
    for (const { symbol, at, quantity } of this.all) {
      const key = `${symbol} ${Math.floor((at - BEGIN) / MINUTE_MS)}`;
      const { n, v } = sums.get(key) ?? { n: 0, v: 0 };
      sums.set(key, { n: n + 1, v: v + quantity });
    }
    return Object.fromEntries(sums);
  }
}

/** The same of what was kept: the completed candles, and those in the states. */
function kept(candles) {
  return Object.fromEntries(
    candles.map(({ s, t, n, v }) => [`${s} ${(t - BEGIN) / MINUTE_MS}`, { n, v }]),
  );
}

test('everything arrives although the persistence service is killed, and workers come and go', async () => {
  const trades = new Trades();

  const first = await startPersistence();
  const worker = run('worker', 'binance');
  worker.child.stdin.write(trades.minute() + trades.minute({ gapIn: 'BTCUSDT' }) + trades.minute());
  await worker.says(/"type":"gap","action":"gap_save","via":"socket"/);
  await worker.says(/"type":"state","action":"save_batch","via":"socket"/);
  // With trades under way; what was not answered goes through the queue.
  worker.child.stdin.write(trades.minute({ gapIn: 'ETHUSDT' }) + trades.minute());
  await kill(first);
  worker.child.stdin.write(trades.minute() + trades.minute());
  await worker.says(/"type":"candle:complete","via":"queue"/);

  const second = await startPersistence();
  worker.output = '';
  worker.child.stdin.write(trades.minute() + trades.minute());
  await worker.says(/"type":"candle:complete","via":"socket"/);
  worker.child.stdin.end(trades.minute({ gapIn: 'SOLUSDT' }));
  assert.equal((await worker.ended).code, 0, worker.output);

  // The next one goes on where the first one ended: with its candles, and with the gap.
  const next = run('worker', 'binance');
  next.child.stdin.end(trades.minute() + trades.minute());
  assert.equal((await next.ended).code, 0, next.output);
  assert.match(next.output, /"event":"loaded","states":3/);

  const { client, request } = connect();
  let health;
  do health = (await request('health')).data;
  while (health.queue.pending + health.queue.claimed + health.queue.waiting > 0);
  assert.deepEqual([health.status, health.reasons], ['healthy', []]);

  const { data: states } = await request('state', { action: 'load_all' });
  const open = states.map(({ stateJson }) => JSON.parse(stateJson).candle);
  const candles = new CandleStore(at('candles')).all();
  assert.equal(open.length, SYMBOLS.length);
  assert.equal(
    candles.every(({ x }) => x),
    true,
  );
  assert.deepEqual(kept([...candles, ...open]), trades.expected());

  const { data: gaps } = await request('gap', { action: 'gap_load', exchange: 'binance' });
  assert.deepEqual(
    gaps
      .map(({ symbol, fromTradeId, toTradeId, gapSize }) => ({
        symbol,
        fromTradeId,
        toTradeId,
        gapSize,
      }))
      .reverse(),
    trades.gaps,
  );

  second.child.kill('SIGTERM');
  const { code, output } = await second.ended;
  assert.equal(code, 0, output);
  assert.match(output, /"event":"stopped"/);
  assert.equal(client.isConnected(), false);
});

test('every message is answered', async () => {
  const persistence = await startPersistence();
  const { request } = connect();
  const ask = async (type, payload) => {
    const { id, ...reply } = await request(type, payload);
    return reply;
  };
  const state = (symbol, lastTradeId) => ({
    exchange: 'binance',
    symbol,
    stateJson: JSON.stringify({ lastTradeId }),
  });
  const [a, b] = [state('A', 5), state('B', 5)];
  const gap = (symbol) => ({ ...dtoExamples.GapRecordInput, symbol });
  const record = (symbol, id, rest) => ({
    ...gap(symbol),
    id,
    synced: false,
    syncedAt: null,
    ...rest,
  });
  const { FootprintCandle: candle } = dtoExamples;
  const done = { success: true };
  const is = (data) => ({ success: true, data });

  const table = [
    ['state', { action: 'save', ...a }, done],
    ['state', { action: 'save_batch', states: [b, state('C', 1)] }, done],
    ['state', { action: 'load', exchange: 'binance', symbol: 'A' }, is(a.stateJson)],
    ['state', { action: 'load', exchange: 'okx', symbol: 'A' }, is(null)],
    ['state', { action: 'load_batch', exchange: 'binance', symbols: ['B', 'A', 'X'] }, is([b, a])],
    // One that comes late does not replace a later one.
    ['state', { action: 'save_batch', states: [state('A', 4), state('C', 2)] }, done],
    ['state', { action: 'load_all' }, is([a, b, state('C', 2)])],
    ['state', { action: 'load_all', exchange: 'okx' }, is([])],
    ['gap', { action: 'gap_save', gap: gap('A') }, done],
    ['gap', { action: 'gap_save_batch', gaps: [gap('B'), gap('A')] }, done],
    ['gap', { action: 'gap_load', symbol: 'B' }, is([record('B', 2)])],
    ['gap', { action: 'gap_mark_synced', ids: [2] }, done],
    ['gap', { action: 'gap_load', syncedOnly: false }, is([record('A', 1)])],
    ['candle:complete', candle, done],
  ];
  for (const [type, payload, expected] of table) {
    assert.deepEqual(await ask(type, payload), expected, JSON.stringify(payload));
  }
  assert.deepEqual(new CandleStore(at('candles')).all(), [candle]);

  const refused = [
    ['candle:complete', { ...candle, n: -1 }, /"path":\s*\[\s*"n"\s*\]/],
    ['gap', { action: 'gap_save', gap: { ...gap('A'), gapSize: 0 } }, /gapSize/],
    ['state', { action: 'save', ...a, symbol: '' }, /symbol/],
    ['state', { action: 'forget' }, /^Unknown message: forget$/],
  ];
  for (const [type, payload, error] of refused) {
    const reply = await ask(type, payload);
    assert.equal(reply.success, false);
    assert.match(reply.error, error);
  }
  const { data: health } = await ask('health');
  assert.deepEqual([health.status, health.server.handlerErrors], ['healthy', refused.length]);

  persistence.child.kill('SIGINT');
  const { code, output } = await persistence.ended;
  assert.equal(code, 0, output);
  assert.match(output, /"event":"health","status":"healthy","reasons":\[\],"pending":0/);
});

test('what waits in the queue is kept before workers are served', async () => {
  const database = createRuntimeDatabase({ runtimeDbPath: at('runtime.db') });
  const stateJson = '{"lastTradeId":9}';
  database.enqueue({
    id: 'waiting',
    type: 'state',
    payload: { action: 'save', exchange: 'binance', symbol: 'A', stateJson },
    timestamp: 1,
  });
  // The messages of others do not stop it.
  database.enqueue({ id: 'foreign', type: 'unknown', payload: {}, timestamp: 0 });
  database.close();
  const persistence = await startPersistence();
  assert.match(persistence.output, /"phase":"handle","id":"foreign"/);
  const { request } = connect();
  const { data } = await request('state', { action: 'load', exchange: 'binance', symbol: 'A' });
  assert.equal(data, stateJson);
});

for (const name of ['persistence', 'worker']) {
  test(`the ${name} says how it is started`, async () => {
    const script = join(root, 'examples', 'service', `${name}.mjs`);
    const { code, output } = await start(process.execPath, [script]).ended;
    assert.equal(code, 2);
    const [usage] = readFileSync(script, 'utf8').match(/node (?=examples)[^<\n]*/);
    assert.ok(output.startsWith(`Usage: ${usage.replace('examples/service/', '').trim()}`), output);
  });
}
