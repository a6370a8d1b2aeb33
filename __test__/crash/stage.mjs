// The test's side: a folder with the file, the socket and the ledgers of one run, the processes of
// the run, and the verdict over it.
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { makeFolder, noPython, startNode } from '../support/queue.mjs';
import { FAULTS, judge, readLedgers, readRows, summary } from './oracle.mjs';
import { SmallDisk } from './small-disk.mjs';

/** Why no crash test can run, or false. */
export const noOracle = noPython;

export class Stage {
  #t;
  #killed = [];
  #stopped = [];
  #started = 0;
  #cutAt = Number.POSITIVE_INFINITY;

  /** With `isSmall` the queue's file is on a file system of its own, see `disk`. */
  constructor(t, { isSmall = false } = {}) {
    this.#t = t;
    this.folder = makeFolder(t);
    if (isSmall) this.disk = new SmallDisk(t, join(this.folder, 'disk'));
    this.dbPath = join(this.disk?.path ?? this.folder, 'queue.db');
    this.socketPath = join(this.folder, 'ipc.sock');
  }

  /**
   * Starts a program under test. It resolves when the program said that it is ready, or with
   * `isReady: false` at once. `ledger` names its ledger: `published-…` or `handled-…`. `under` is
   * a command line to run it under.
   */
  async start(program, ledger, settings = {}, { isReady = true, under = this.disk?.under } = {}) {
    const { dbPath, socketPath } = this;
    this.#started++;
    const ledgerPath = join(this.folder, `${ledger}.ndjson`);
    const all = { dbPath, socketPath, ledgerPath, life: this.#started, ...settings };
    const args = [JSON.stringify(all)];
    const child = startNode(this.#t, `../crash/${program}.mjs`, args, { under });
    if (isReady) assert.equal(await child.says(), 'ready');
    // However it came to be killed, by the test or by itself.
    child.gone = child.ended.then((end) => {
      if (end.signal === 'SIGKILL') this.#killed.push(child.process.pid);
      return end;
    });
    return child;
  }

  /** Kills a program; resolves when it is gone. */
  async kill(child) {
    child.process.kill('SIGKILL');
    return child.gone;
  }

  /** Stops a program; it goes on when the function that this returns is called. */
  stop(child) {
    this.#stopped.push(child.process.pid);
    child.process.kill('SIGSTOP');
    return () => child.process.kill('SIGCONT');
  }

  /** Lets a consumer handle what is left in the queue, and ends it. */
  async drain(consumer) {
    const said = await consumer.ask('drain');
    consumer.process.stdin.end();
    await this.ends(consumer);
    return said;
  }

  /** The program's end, which must be a good one. */
  async ends(child) {
    const { code, signal, stderr } = await child.gone;
    assert.deepEqual({ code, signal }, { code: 0, signal: null }, stderr);
    return stderr;
  }

  /**
   * Tells when the power was cut. Without power nothing more would have happened; our processes
   * live a little longer, and `fdatasync` may still succeed when the journal has just gone. What
   * they meant to do then is no surprise, but what they say to have done counts for nothing.
   */
  cut(cutAt) {
    this.#cutAt = cutAt;
  }

  /** The ledgers of one side, all processes together, until the power was cut. */
  ledgers(side) {
    const names = readdirSync(this.folder).filter((name) => name.startsWith(side));
    const entries = readLedgers(names.map((name) => join(this.folder, name)));
    return entries.filter(({ kind, at }) => kind === 'intent' || at < this.#cutAt);
  }

  /** What the oracle says, once all programs are at rest. */
  verdict() {
    const { integrity, rows } = readRows(this.dbPath, this.disk?.under);
    assert.equal(integrity, 'ok');
    return judge({
      published: this.ledgers('published'),
      handled: this.ledgers('handled'),
      rows,
      killed: this.#killed,
      stopped: this.#stopped,
    });
  }

  /** The verdict, which must be that nothing is wrong, but for the faults that are forgiven. */
  assertKept(forgiven = []) {
    const verdict = this.verdict();
    this.#t.diagnostic(counts(verdict));
    const wrong = FAULTS.filter((kind) => !forgiven.includes(kind) && verdict[kind].length > 0);
    assert.deepEqual(wrong, [], summary(verdict));
    return verdict;
  }
}

/** The numbers of a verdict, as a line. */
function counts(verdict) {
  return Object.entries(verdict)
    .filter(([name]) => name !== 'ok')
    .map(([name, value]) => `${name} ${Array.isArray(value) ? value.length : value}`)
    .join(', ');
}
