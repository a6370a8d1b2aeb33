// A worker: makes candles of trades, and sends them, their states and the gaps between trades to
// the persistence service.
//
//   node examples/service/worker.mjs SOCKET RUNTIME_DB EXCHANGE < trades
//
// A trade is one line: {"symbol","id","at","price","quantity","buy"}. Ends with its input. Its log
// is one JSON object a line.
import { randomUUID } from 'node:crypto';
import { createInterface } from 'node:readline';
import { BatchSender, createIPCClient, createRuntimeDatabase } from '@flowtrace/ipc';
import { CandleBuilder } from './candle-builder.mjs';
import { log, logFailure } from './log.mjs';

const TICK_SIZE = 0.5;

/** A healthy persistence service answers within milliseconds; else there is the queue. */
const DELIVERY = { attempts: 3, timeoutMs: 2_000 };

/** A worker cannot begin without its states, so that it waits for the service for minutes. */
const LOADING = { attempts: 30, timeoutMs: 10_000 };

const [socketPath, runtimeDbPath, exchange] = process.argv.slice(2);
if (exchange === undefined) {
  console.error('Usage: node worker.mjs SOCKET RUNTIME_DB EXCHANGE < trades');
  process.exit(2);
}

const client = createIPCClient({ socketPath, reconnectDelay: 100 });
const database = createRuntimeDatabase({ runtimeDbPath });

/** Resolves when the message is handled by the service, or safe on the disk. */
async function deliver(type, payload) {
  const message = { id: randomUUID(), type, payload, timestamp: Date.now() };
  let via = 'socket';
  try {
    const reply = await client.request(message, DELIVERY);
    if (!reply.success) throw new Error(reply.error);
  } catch (error) {
    logFailure('request failed', error, { id: message.id });
    // What the service refused is stored as well: among its dead letters somebody can look at it.
    await database.enqueueAsync(message);
    via = 'queue';
  }
  log('delivered', { type, action: payload.action, via });
}

const states = new BatchSender({
  // Of several states of one symbol the last one is enough.
  send: (batch) =>
    deliver('state', {
      action: 'save_batch',
      states: [...new Map(batch.map((state) => [state.symbol, state])).values()],
    }),
  flushIntervalMs: 50,
  // A state that is dropped is replaced by the next one of its symbol.
  overflow: 'drop-oldest',
});
states.on('error', (error, { waitMs }) => logFailure('states', error, { waitMs }));

/** The states that workers of this exchange left. */
async function loadStates() {
  const message = { type: 'state', payload: { action: 'load_all', exchange } };
  const { success, data, error } = await client.request(message, LOADING);
  if (!success) throw new Error(error);
  log('loaded', { states: data.length });
  return data;
}

const builders = new Map();

function builderOf(symbol, stateJson = null) {
  let builder = builders.get(symbol);
  if (builder === undefined) {
    builder = new CandleBuilder({ exchange, symbol, tickSize: TICK_SIZE, stateJson });
    builders.set(symbol, builder);
  }
  return builder;
}

for (const { symbol, stateJson } of await loadStates()) builderOf(symbol, stateJson);

for await (const line of createInterface({ input: process.stdin })) {
  const trade = JSON.parse(line);
  const builder = builderOf(trade.symbol);
  const { completed, gap } = builder.add(trade);
  // Before the state: a worker that dies in between makes the candle again, which does no harm.
  if (completed !== undefined) await deliver('candle:complete', completed);
  if (gap !== undefined) await deliver('gap', { action: 'gap_save', gap });
  states.add(builder.entry);
}

const unsent = await states.close({ deadlineMs: 30_000 });
await client.close();
database.close();
log('ended', { unsent: unsent.length });
if (unsent.length > 0) process.exitCode = 1;
