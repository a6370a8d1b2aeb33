// The persistence service: keeps what workers send, by the socket and by the queue.
//
//   node examples/service/persistence.mjs SOCKET RUNTIME_DB CANDLE_FOLDER
//
// Ends on SIGTERM and SIGINT. Its log is one JSON object a line.
import {
  checkHealth,
  createIPCServer,
  createRuntimeDatabase,
  createRuntimeDatabasePoller,
  validateFootprintCandleDTO,
  validateGapRecordInputDTO,
  validateStateEntryDTO,
} from '@flowtrace/ipc';
import { CandleStore } from './candle-store.mjs';
import { log, logFailure } from './log.mjs';

const HEALTH_LOG_MS = 30_000;

const [socketPath, runtimeDbPath, candleFolder] = process.argv.slice(2);
if (candleFolder === undefined) {
  console.error('Usage: node persistence.mjs SOCKET RUNTIME_DB CANDLE_FOLDER');
  process.exit(2);
}

const database = createRuntimeDatabase({ runtimeDbPath });
const candles = new CandleStore(candleFolder);
const server = createIPCServer({ socketPath });
const poller = createRuntimeDatabasePoller({ database });

/** The last trade in the state of each symbol, as far as it was looked up. */
const lastTrades = new Map();

const keyOf = ({ exchange, symbol }) => JSON.stringify([exchange, symbol]);
const lastTradeOf = (stateJson) => JSON.parse(stateJson)?.lastTradeId;

/**
 * Whether a state is older than the one that is kept. A worker that got no reply puts its states
 * into the queue and sends the next ones by the socket, so that older ones may come later.
 */
function isOutdated(state) {
  const key = keyOf(state);
  if (!lastTrades.has(key)) {
    const kept = database.loadState(state.exchange, state.symbol);
    if (kept !== null) lastTrades.set(key, lastTradeOf(kept));
  }
  return lastTradeOf(state.stateJson) < lastTrades.get(key);
}

function saveStates(states) {
  const current = states
    .map((state) => validateStateEntryDTO(state))
    .filter((state) => !isOutdated(state));
  database.saveStateBatch(current);
  for (const state of current) lastTrades.set(keyOf(state), lastTradeOf(state.stateJson));
}

function saveGaps(gaps) {
  database.saveGapBatch(gaps.map((gap) => validateGapRecordInputDTO(gap)));
}

/** What to do for each kind of message; the result is the `data` of the reply. */
const actions = {
  save: (payload) => saveStates([payload]),
  save_batch: ({ states }) => saveStates(states),
  load: ({ exchange, symbol }) => database.loadState(exchange, symbol),
  load_batch: ({ exchange, symbols }) => database.loadStatesBatch(exchange, symbols),
  load_all: ({ exchange }) =>
    exchange === undefined ? database.loadAllStates() : database.loadStatesByExchange(exchange),
  gap_save: ({ gap }) => saveGaps([gap]),
  gap_save_batch: ({ gaps }) => saveGaps(gaps),
  gap_load: ({ exchange, symbol, syncedOnly }) =>
    database.loadGaps({ exchange, symbol, syncedOnly }),
  gap_mark_synced: ({ ids }) => database.markGapsSynced(ids),
  'candle:complete': (candle) => candles.save(validateFootprintCandleDTO(candle)),
  health,
};

/**
 * One handler for both channels. It may see a message twice, and all that it does may be done
 * twice. What it throws becomes the failed reply to a request, and lets the poller try again.
 */
function handle({ type, payload }) {
  const name = payload?.action ?? type;
  if (!Object.hasOwn(actions, name)) throw new Error(`Unknown message: ${name}`);
  return { success: true, data: actions[name](payload) };
}

function health() {
  return checkHealth({ server, queue: database, poller });
}

server.setRequestHandler(handle);
poller.setOnMessage((message) => {
  handle(message);
});

server.on('error', (error) => logFailure('server', error));
poller.on('error', (error, { phase, message }) =>
  logFailure('poller', error, { phase, id: message?.id }),
);
poller.on('deadLetter', ({ id }, { attempts, error }) =>
  logFailure('dead letter', error, { id, attempts }),
);

function logHealth() {
  const { status, reasons, queue } = health();
  log('health', { status, reasons, pending: queue?.pending });
}

/** Begins to listen, unless the end came first. */
async function open() {
  if (!poller.isRunning()) return;
  await server.start();
  log('listening', { pid: process.pid });
  logHealth();
  setInterval(logHealth, HEALTH_LOG_MS).unref();
}

async function close(signal) {
  log('stopping', { signal });
  // Requests that were sent get their reply, then the message in hand is finished. What is left in
  // the queue waits for the next start.
  await server.stop();
  await poller.stop();
  database.close();
  log('stopped');
}

process.once('SIGTERM', close);
process.once('SIGINT', close);

// A worker that starts asks for its states: those that wait in the queue have to be among them.
poller.once('drained', open);
await poller.start();
