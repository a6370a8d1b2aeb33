// The parent of the demonstration: starts workers and the persistence process, kills the latter
// along the way, and compares the ledgers at the end.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { random } from './candles.mjs';
import { now } from './ledger.mjs';
import { optionsOrUsage } from './options.mjs';
import { Child } from './process.mjs';
import { Progress, summarize, table, verdict } from './report.mjs';

const STATUS_INTERVAL_MS = 200;

/** When nothing moves for that long at the end, whatever is missing will not come any more. */
const STALL_MS = 15_000;

class Demo {
  #options;
  #progress;
  #folder = mkdtempSync(join(tmpdir(), 'flowtrace-demo-'));
  #keepFolder;
  #workers = [];
  #persistence;
  #persistenceIsUp = false;
  #kills = 0;
  #startedAt = now();
  /** Aborted when nothing more is to be sent: the time is up, or the user had enough. */
  #over = new AbortController();
  #interrupted = false;

  constructor(options) {
    this.#options = options;
    this.#keepFolder = options.keep;
    this.#progress = new Progress(options.json ? process.stderr : process.stdout);
  }

  /** Runs to the end and returns the summary. */
  async run() {
    await this.#startAll();
    const status = setInterval(() => this.#showStatus(), STATUS_INTERVAL_MS);
    try {
      await Promise.race([
        Promise.all([this.#sendUntilTimeIsUp(), this.#disturb()]),
        ...this.#workers.map(({ done }) => done),
      ]);
      await this.#finish();
    } finally {
      clearInterval(status);
      this.#progress.end();
    }
    return this.#summary();
  }

  /** Called for a signal: the first one ends the sending, the next one everything. */
  interrupt() {
    if (this.#interrupted) process.exit(130);
    this.#interrupted = true;
    this.#over.abort();
  }

  /** Leaves nothing behind; also for the end of the process. */
  clean() {
    for (const child of [...this.#workers, this.#persistence]) child?.kill();
    if (!this.#keepFolder) rmSync(this.#folder, { recursive: true, force: true, maxRetries: 3 });
  }

  #path(name) {
    return join(this.#folder, name);
  }

  #sentPath(index) {
    return this.#path(`sent-${index + 1}.ndjson`);
  }

  async #startAll() {
    const { workers, rate, seconds, seed, minBytes, maxBytes } = this.#options;
    this.#progress.event(
      `${workers} workers send ${rate} candles a second each for ${seconds} s (seed ${seed})`,
    );
    await this.#startPersistence();
    for (let index = 0; index < workers; index++) {
      const name = `w${index + 1}`;
      const settings = {
        name,
        socketPath: this.#path('persistence.sock'),
        dbPath: this.#path('queue.db'),
        ledgerPath: this.#sentPath(index),
        // Far from each other, so that no two runs share a worker.
        seed: Math.floor(random(seed + index * 0x9e3779b9)() * 2 ** 32),
        rate,
        minBytes,
        maxBytes,
      };
      const counts = { sent: 0, socket: 0, queue: 0, failovers: 0 };
      this.#workers.push(new Child(`worker ${name}`, './worker.mjs', settings, counts));
    }
    await Promise.all(this.#workers.map((worker) => worker.ready()));
  }

  async #startPersistence() {
    const settings = {
      socketPath: this.#path('persistence.sock'),
      dbPath: this.#path('queue.db'),
      ledgerPath: this.#path('handled.ndjson'),
    };
    // What an earlier one counted stays on show until the new one has read its ledger.
    const counts = this.#persistence?.counts ?? { socket: 0, queue: 0, duplicates: 0 };
    this.#persistence = new Child('persistence process', './persistence.mjs', settings, counts);
    await this.#persistence.ready();
    this.#persistenceIsUp = true;
  }

  async #sendUntilTimeIsUp() {
    this.#startedAt = now();
    for (const worker of this.#workers) worker.begin();
    await this.#pause(this.#options.seconds * 1_000);
    this.#over.abort();
  }

  /** Kills the persistence process now and then. It is up when this returns. */
  async #disturb() {
    for (const { atMs, outageMs } of killTimes(this.#options)) {
      await Promise.race([this.#pause(this.#startedAt + atMs - now()), this.#persistence.done]);
      if (this.#over.signal.aborted) return;
      this.#persistenceIsUp = false;
      await this.#persistence.kill();
      this.#kills++;
      const killedAt = now();
      await this.#pause(outageMs);
      await this.#startPersistence();
      const awayMs = Math.round(now() - killedAt);
      this.#progress.event(
        `kill ${this.#kills}: the persistence process was killed and is back after ${awayMs} ms`,
      );
    }
  }

  /** Lets the workers deliver what they have begun, and the persistence process drain the queue. */
  async #finish() {
    const work = async () => {
      await Promise.all(this.#workers.map((worker) => worker.end()));
      await this.#persistence.end();
    };
    await Promise.race([work(), this.#stalled()]);
  }

  async #stalled() {
    for (let [before, after] = ['', this.#counts()]; before !== after; after = this.#counts()) {
      before = after;
      await setTimeout(STALL_MS, undefined, { ref: false });
    }
    this.#progress.event(`Nothing moved for ${STALL_MS / 1_000} s: giving up.`);
  }

  #counts() {
    return JSON.stringify([this.#persistence, ...this.#workers].map(({ counts }) => counts));
  }

  #showStatus() {
    const sum = (name) => this.#workers.reduce((total, { counts }) => total + counts[name], 0);
    const { socket, queue } = this.#persistence.counts;
    const seconds = ((now() - this.#startedAt) / 1_000).toFixed(1);
    // The processes report in turn: a candle may be counted as received before it is as sent.
    const sent = Math.max(sum('sent'), socket + queue);
    const waiting = sent - socket - queue;
    this.#progress.status(
      `${seconds.padStart(6)} s  persistence ${this.#persistenceIsUp ? 'up  ' : 'DOWN'}` +
        `  sent ${sent}  via socket ${socket}  via queue ${queue}  waiting ${waiting}` +
        `  failovers ${sum('failovers')}  kills ${this.#kills}`,
      now(),
    );
  }

  #summary() {
    const sentPaths = this.#workers.map((_, index) => this.#sentPath(index));
    const { workers, seconds, rate, seed } = this.#options;
    const summary = {
      ...summarize(sentPaths, this.#path('handled.ndjson')),
      kills: this.#kills,
      failovers: this.#workers.reduce((total, { counts }) => total + counts.failovers, 0),
      interrupted: this.#interrupted,
      options: { workers, seconds, rate, seed },
    };
    // Whoever looks into a loss needs the ledgers.
    if (!summary.ok) this.#keepFolder = true;
    if (this.#keepFolder) summary.folder = this.#folder;
    return summary;
  }

  /** Waits, but no longer than until everything is over. */
  async #pause(ms) {
    await setTimeout(Math.max(0, ms), undefined, { signal: this.#over.signal }).catch(() => {});
  }
}

/** The kills at random times of equal parts of the run; one in the middle has the long outage. */
function killTimes({ kills, seconds, outageMs, seed }) {
  const part = (seconds * 1_000 * 0.9) / kills;
  const next = random(seed);
  return Array.from({ length: kills }, (_, index) => ({
    atMs: (index + 0.3 + next() * 0.6) * part,
    outageMs: index === Math.floor(kills / 2) ? outageMs : 0,
  }));
}

/** Runs the demonstration; `process.exitCode` says how it went. */
export async function main(options) {
  const demo = new Demo(options);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => demo.interrupt());
  process.on('exit', () => demo.clean());
  let summary;
  try {
    summary = await demo.run();
  } catch (error) {
    console.error(`FAILED: ${error.message}`);
    // At once: what still runs would go on to start processes.
    process.exit(1);
  }
  demo.clean();
  process.exitCode = summary.ok ? 0 : 1;
  if (options.json) {
    console.log(JSON.stringify(summary, null, 2));
    return;
  }
  console.log(`\n${table(summary)}\n\n${verdict(summary)}`);
  if (summary.folder) console.log(`The ledgers and the queue are in ${summary.folder}`);
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const options = optionsOrUsage(process.argv.slice(2));
  if (options) await main(options);
}
