// The persistence process: receives candles by both channels and keeps each once.
import { setTimeout } from 'node:timers/promises';
import { SQLiteQueue, SQLiteQueuePoller, UnixSocketServer } from '@flowtrace/ipc';
import { digest, Ledger, now, readLedger } from './ledger.mjs';
import { runAsChild } from './process.mjs';

/** Not more often: `stats()` counts all rows of the file. */
const DRAIN_CHECK_MS = 250;

runAsChild(async ({ socketPath, dbPath, ledgerPath }) => {
  const counts = { socket: 0, queue: 0, duplicates: 0 };
  const known = new Set();
  const ledger = new Ledger(ledgerPath);
  // What earlier lives of this process handled: a copy may still come.
  for (const { id, via, duplicate } of readLedger(ledgerPath)) {
    known.add(id);
    counts[duplicate ? 'duplicates' : via]++;
  }

  /** One gate for both channels; the ledger stands for the candle's table in a database. */
  function keep({ id, payload }, via) {
    if (known.has(id)) {
      counts.duplicates++;
      ledger.append({ id, via, duplicate: true });
      return;
    }
    ledger.append({ id, via, at: now(), digest: digest(JSON.stringify(payload)) });
    known.add(id);
    counts[via]++;
  }

  const server = new UnixSocketServer({ socketPath });
  server.setRequestHandler(async (message) => {
    keep(message, 'socket');
    return { success: true };
  });

  const queue = new SQLiteQueue({ dbPath });
  const poller = new SQLiteQueuePoller({
    queue,
    pollInterval: 200,
    batchSize: 100,
    onMessage: (message) => keep(message, 'queue'),
  });

  await server.start();
  await poller.start();
  return {
    counts: () => counts,

    /** Called when no worker sends any more: drains the queue and stops. */
    async end() {
      await server.stop();
      while (isUnfinished(queue.stats())) await setTimeout(DRAIN_CHECK_MS);
      await poller.stop();
      queue.close();
      ledger.close();
    },
  };
});

/** Claimed messages are in the poller's hands, but a poller that stops gives them back. */
function isUnfinished({ pending, claimed }) {
  return pending + claimed > 0;
}
