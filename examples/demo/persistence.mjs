// The persistence process: receives candles by both channels and keeps each once.
import { setTimeout } from 'node:timers/promises';
import { HybridConsumer } from '@flowtrace/ipc';
import { digest, Ledger, now, readLedger } from './ledger.mjs';
import { runAsChild } from './process.mjs';

/** Not more often: `stats()` counts rows of the file. */
const DRAIN_CHECK_MS = 250;

runAsChild(async ({ socketPath, dbPath, ledgerPath }) => {
  const counts = { socket: 0, queue: 0, duplicates: 0 };
  // What earlier lives of this process kept.
  const kept = new Set();
  for (const { id, via, duplicate } of readLedger(ledgerPath)) {
    kept.add(id);
    counts[duplicate ? 'duplicates' : via]++;
  }
  const ledger = new Ledger(ledgerPath);

  function drop({ id }, { via }) {
    counts.duplicates++;
    ledger.append({ id, via, duplicate: true });
  }

  const consumer = new HybridConsumer({
    socketPath,
    dbPath,
    dedup: 'durable',
    pollInterval: 200,
    batchSize: 100,
    onMessage(message, info) {
      // The ledger stands for the candle's table in a database. As its primary key would, it refuses
      // a candle that was kept just before a kill, too late for anybody to be told.
      if (kept.has(message.id)) {
        drop(message, info);
        return;
      }
      const { id, payload } = message;
      ledger.append({ id, via: info.via, at: now(), digest: digest(JSON.stringify(payload)) });
      counts[info.via]++;
    },
  });
  consumer.on('duplicate', drop);

  await consumer.start();
  return {
    counts: () => counts,

    /** Called when no worker sends any more: drains the queue and stops. */
    async end() {
      while (isUnfinished(consumer.queue.stats())) await setTimeout(DRAIN_CHECK_MS);
      await consumer.stop();
      ledger.close();
    },
  };
});

/** Claimed messages are in the consumer's hands, but one that stops gives them back. */
function isUnfinished({ pending, claimed }) {
  return pending + claimed > 0;
}
