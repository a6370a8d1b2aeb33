// A program under test: handles what is in a queue until nothing is left.
import { SQLiteQueue, SQLiteQueuePoller } from '../../features/sqlite-queue/index.js';
import { HandlerLedger } from './ledger.mjs';
import { pollOnce } from './original.mjs';
import { deafen, point, say, settings, sleep } from './program.mjs';

const { dbPath, ledgerPath, how = 'claims', limit = 20, leaseMs, handlerMs = 0 } = settings;
const queue = new SQLiteQueue({ dbPath, busyTimeoutMs: 10_000 });
const ledger = new HandlerLedger(ledgerPath);
const handled = new Set();
let attempts = 0;

async function handle(message, attempt) {
  point('begun');
  if (handlerMs > 0) await sleep(handlerMs);
  ledger.handled(message, { via: 'queue', attempt });
  handled.add(message.id);
  point('handled');
}

function isEmpty() {
  const { pending, claimed } = queue.stats();
  return pending + claimed === 0;
}

/** With claims, and the completion as the program wants it. */
async function drain(complete) {
  while (!isEmpty()) {
    const claims = queue.claim({ limit, leaseMs });
    for (const claim of claims) {
      await handle(claim.message, claim.attempt);
      ledger.settled(claim.message.id, complete(claim));
      point('settled');
    }
    if (claims.length === 0) await sleep(10);
    else attempts += claims.length;
  }
}

const ways = {
  claims: () => drain((claim) => queue.complete(claim)),

  /** The seeded fault: whoever handled a message completes it, also when it was another's by then. */
  'without token': () =>
    drain(({ message }) => {
      queue.markProcessed(message.id);
      return true;
    }),

  /** The original: reads without a claim, handles, marks. */
  async original() {
    while ((await pollOnce(queue, limit, handle)) > 0) point('settled');
  },

  async poller() {
    const poller = new SQLiteQueuePoller({
      queue,
      batchSize: limit,
      leaseMs,
      pollInterval: 50,
      onMessage: (message) => handle(message),
    });
    poller.on('error', (error, { message }) => {
      // A machine that is busy may starve a process for longer than a lease, without a signal.
      if (error.code === 'ERR_IPC_STALE_CLAIM' && handled.has(message?.id)) {
        ledger.settled(message.id, false);
      }
      say({ error: String(error) });
    });
    await poller.start();
    while (!isEmpty()) await sleep(20);
    await poller.stop();
  },
};

say('ready');
await ways[how]();
say({ drained: attempts });
queue.close();
deafen();
