// The oracle of the crash tests. The programs under test write down what they do, each in a ledger
// of its own, every line before the step that follows it. This module, which did none of it,
// compares the ledgers and the rows of the queue file when all of them are at rest.
//
// A publisher writes { kind, id, at, … }:
//   intent    { digest } before it publishes
//   accepted  { via, level } when the promise of the package has resolved
//   rejected  { code, indeterminate } when it has rejected
// A handler writes { kind, id, at, pid, … }:
//   handled   { digest, via, attempt } when its work is done, before it tells anybody
//   completed, stale   what the queue said to the completion, where the program does that itself
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { limits } from '../../dist/limits.js';
import { readLedger } from '../../examples/demo/ledger.mjs';
import { digestOf } from './ledger.mjs';

const ROWS = fileURLToPath(new URL('rows.py', import.meta.url));

/** SQLite's `integrity_check` of a file and its rows, read by another process. */
export function readRows(dbPath, under = []) {
  const [command, ...args] = [...under, 'python3', ROWS, dbPath];
  const options = { encoding: 'utf8', maxBuffer: 2 ** 30 };
  const lines = execFileSync(command, args, options).trimEnd().split('\n');
  const [integrity, ...rows] = lines.map((line) => JSON.parse(line));
  return {
    integrity,
    rows: rows.map(([id, type, payload, timestamp, processed]) => ({
      id,
      processed,
      digest: digestOf(type, payload, timestamp),
    })),
  };
}

/** The lines of ledgers, in the order of their time. */
export function readLedgers(paths) {
  return paths.flatMap(readLedger).sort((one, other) => one.at - other.at);
}

/** The lists of a verdict that must be empty. */
export const FAULTS = ['lost', 'unexpected', 'altered', 'duplicated', 'denied'];

/** A batch of messages is settled together, while the next one is handled. */
const UNTOLD_MAX = 2 * limits.settleCountMax;

const PROCESSED = 1;
const DEAD = 2;

/**
 * Compares. `killed` and `stopped` hold the pids of processes that were. The lists of the verdict
 * hold ids:
 *
 * - `lost`: accepted, and neither handled, nor pending, nor a dead letter;
 * - `unexpected`: handled or in the file, and nobody meant to publish it;
 * - `altered`: handled or in the file with another content than was meant;
 * - `duplicated`: handled again although the first handling counted;
 * - `denied`: handled or in the file, although its publisher was told that this cannot be;
 * - `repeated`: handled again where nobody could know of the first handling: its process was
 *   killed or stopped before it could say so, or its completion was refused. Not a fault.
 *
 * A process that is killed may have had no time to speak of the last `UNTOLD_MAX` that it handled.
 */
export function judge({ published, handled, rows = [], killed = [], stopped = [] }) {
  const verdict = { repeated: [] };
  for (const kind of FAULTS) verdict[kind] = [];
  const intents = new Map();
  const accepted = new Map();
  // How many attempts of an id may have succeeded, for all that is known.
  const open = new Map();
  const count = (id, more) => open.set(id, (open.get(id) ?? 0) + more);
  for (const entry of published) {
    if (entry.kind === 'intent') {
      intents.set(entry.id, entry.digest);
      count(entry.id, 1);
    } else if (entry.kind === 'rejected' && entry.indeterminate === false) {
      count(entry.id, -1);
    }
    // The first time counts: a publisher may publish again what was accepted.
    if (entry.kind === 'accepted' && !accepted.has(entry.id)) accepted.set(entry.id, entry);
  }

  const check = ({ id, digest }) => {
    if (!intents.has(id)) verdict.unexpected.push(id);
    else if (intents.get(id) !== digest) verdict.altered.push(id);
    if (open.get(id) === 0) verdict.denied.push(id);
  };
  const handlings = handlingsById(handled);
  const interrupted = { killed: new Set(killed), stopped: new Set(stopped) };
  for (const [id, all] of handlings) {
    for (const handling of all) check(handling);
    const kind = repetition(all, accepted.get(id), interrupted);
    if (kind !== undefined) verdict[kind].push(id);
  }

  const kept = new Set();
  const states = { pending: 0, processed: 0, dead: 0 };
  for (const row of rows) {
    check(row);
    if (row.processed === PROCESSED) {
      states.processed++;
    } else {
      kept.add(row.id);
      states[row.processed === DEAD ? 'dead' : 'pending']++;
    }
  }
  for (const id of accepted.keys()) if (!handlings.has(id) && !kept.has(id)) verdict.lost.push(id);

  const counts = { intended: intents.size, accepted: accepted.size, handled: handlings.size };
  return {
    ok: FAULTS.every((kind) => verdict[kind].length === 0),
    ...verdict,
    ...counts,
    ...states,
  };
}

/** The handlings of each id, each with what the queue said to its completion, if anything. */
function handlingsById(entries) {
  const handlings = new Map();
  const open = new Map();
  const totals = new Map();
  for (const entry of entries) {
    const { pid } = entry;
    const key = `${pid} ${entry.id}`;
    if (entry.kind === 'handled') {
      totals.set(pid, (totals.get(pid) ?? 0) + 1);
      const handling = { ...entry, outcome: undefined, nth: totals.get(pid) };
      open.set(key, handling);
      if (!handlings.has(entry.id)) handlings.set(entry.id, []);
      handlings.get(entry.id).push(handling);
    } else {
      open.get(key).outcome = entry.kind;
    }
  }
  for (const handling of [...handlings.values()].flat()) {
    handling.isRecent = handling.nth > totals.get(handling.pid) - UNTOLD_MAX;
  }
  return handlings;
}

/** What it is that an id was handled so often: nothing special, `repeated` or `duplicated`. */
function repetition(handlings, accepted, { killed, stopped }) {
  if (handlings.length === 1) return undefined;
  const counted = handlings.filter((handling, index) => {
    if (handling.outcome !== undefined) return handling.outcome === 'completed';
    const next = handlings[index + 1];
    // If the publisher had heard of a handling before the next one began, somebody had said so.
    if (accepted?.level === 'handled' && next !== undefined && accepted.at < next.at) return true;
    // A process that was stopped was overtaken or overtakes. A killed one can only have been
    // overtaken; one that lived on without a pause had time to say so, or to remember.
    if (stopped.has(handling.pid)) return false;
    const isUntold = killed.has(handling.pid) && handling.isRecent;
    return next === undefined || next.pid === handling.pid || !isUntold;
  });
  return counted.length > 1 ? 'duplicated' : 'repeated';
}

/** A verdict in short, for the message of a failed assertion. */
export function summary(verdict) {
  return JSON.stringify(verdict, (_, value) =>
    Array.isArray(value) && value.length > 10
      ? [...value.slice(0, 10), `… ${value.length}`]
      : value,
  );
}
