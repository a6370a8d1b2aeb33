// A worker process: makes candles at a steady rate and publishes them.
import { HybridPublisher } from '@flowtrace/ipc';
import { CandleSource } from './candles.mjs';
import { digest, Ledger, now } from './ledger.mjs';
import { runAsChild } from './process.mjs';

const TICK_MS = 10;

/** Candles that may be under way; a worker that got ahead of the disk waits for it. */
const UNDERWAY_MAX = 1_000;

runAsChild(async ({ name, socketPath, dbPath, ledgerPath, seed, rate, minBytes, maxBytes }) => {
  const source = new CandleSource({ seed, minBytes, maxBytes });
  const ledger = new Ledger(ledgerPath);
  const publisher = new HybridPublisher({ socketPath, dbPath });
  const counts = { sent: 0, socket: 0, queue: 0 };
  let underway = 0;
  let pacemaker;

  function sendOne() {
    const { candle, json } = source.next();
    counts.sent++;
    const id = `${name}-${counts.sent}`;
    // Before it is sent: a candle that gets lost on the way has to be in the ledger.
    ledger.append({ id, at: now(), bytes: json.length, digest: digest(json) });
    const message = { id, type: 'candle:complete', payload: candle, timestamp: Date.now() };
    underway++;
    publisher
      .publish(message)
      .then(({ via }) => counts[via]++)
      // Neither channel took it: the ledgers will show it as lost.
      .catch((error) => console.error(`${id} could not be published (${error.code}):`, error))
      .finally(() => underway--);
  }

  return {
    counts: () => ({ ...counts, failovers: publisher.stats().failovers }),

    /** Candles are due by the clock, so that a late timer does not lower the rate. */
    begin() {
      let due = 0;
      let last = now();
      pacemaker = setInterval(() => {
        const time = now();
        // After a pause at most a tenth of a second is made up for.
        due = Math.min(due + ((time - last) / 1_000) * rate, Math.max(1, rate / 10));
        last = time;
        for (; due >= 1 && underway < UNDERWAY_MAX; due--) sendOne();
      }, TICK_MS);
    },

    /** Sends nothing more, and returns when everything is handled or stored. */
    async end() {
      clearInterval(pacemaker);
      await publisher.close();
      ledger.close();
    },
  };
});
