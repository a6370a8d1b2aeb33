// What the tests of the poller share.
import { afterEach, beforeEach, mock } from 'node:test';
import { limits } from '../../dist/limits.js';
import { messageSource } from '../../dist/message-source.js';
import { SQLiteQueuePoller } from '../../dist/poller.js';

/** Lets promises and turns of the event loop happen; no clock is involved. */
export async function settle(turns = 20) {
  for (let turn = 0; turn < turns; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** Whether a promise is settled once everything that can happen without a clock has happened. */
export async function isSettled(promise) {
  const pending = Symbol('pending');
  await settle();
  return (await Promise.race([promise, Promise.resolve(pending)])) !== pending;
}

/** Advances the faked timers, with everything that they set off, `step` by `step`. */
export async function advance(ms, step = ms) {
  for (let passed = 0; passed < ms; passed += step) {
    mock.timers.tick(Math.min(step, ms - passed));
    await settle(5);
  }
}

export function message(id, more) {
  return { id, type: 'test', payload: { id }, timestamp: 1, ...more };
}

export function messages(count, prefix = 'm') {
  return Array.from({ length: count }, (_, index) => message(`${prefix}${index + 1}`));
}

/** A promise with its handles, as `Promise.withResolvers` of later Node lines. */
export function deferred() {
  const handles = {};
  handles.promise = new Promise((resolve, reject) => Object.assign(handles, { resolve, reject }));
  return handles;
}

/** What services inject: a queue in memory that records how it is called. */
export function fakeQueue(initial = []) {
  const rows = [...initial];
  return {
    rows,
    dequeue: mock.fn((limit) => rows.slice(0, limit)),
    markProcessed: mock.fn((id) => {
      const index = rows.findIndex((row) => row.id === id);
      if (index >= 0) rows.splice(index, 1);
    }),
    cleanup: mock.fn(() => 0),
  };
}

export const calls = (fn) => fn.mock.calls.map(({ arguments: args }) => args);
export const firsts = (fn) => calls(fn).map(([first]) => first);

/** A poller whose errors are collected; every one of them is stopped after its test. */
export const pollers = [];
export function makePoller(options) {
  const poller = new SQLiteQueuePoller(options);
  const errors = [];
  poller.on('error', (error, context) => errors.push({ error, ...context }));
  pollers.push(poller);
  return { poller, errors };
}

/** A queue of our own: its port leads to a source with claims, leases, attempts, a doorbell. */
export function ownQueue(initial = [], { maxAttempts = 3 } = {}) {
  const pending = [...initial];
  const claimed = new Map();
  const attempts = new Map();
  const claimOf = (message) => {
    const attempt = (attempts.get(message.id) ?? 0) + 1;
    attempts.set(message.id, attempt);
    const claim = { message, attempt, token: Symbol(message.id) };
    claimed.set(claim.token, claim);
    return claim;
  };
  const source = {
    leases: true,
    settleCountMax: limits.settleCountMax,
    ring: () => {},
    muted: false,
    claim: mock.fn(async (limit) => {
      await settle(1);
      return pending.splice(0, limit).map(claimOf);
    }),
    claimLeastTried: mock.fn(async () => {
      await settle(1);
      const tries = pending.map(({ id }) => attempts.get(id) ?? 0);
      return pending.splice(tries.indexOf(Math.min(...tries)), 1).map(claimOf);
    }),
    settle: mock.fn(async ({ completed, failed, released }) => {
      await settle(1);
      const report = { failed: [], stale: [], unmarked: [] };
      for (const claim of completed) if (!claimed.delete(claim.token)) report.stale.push(claim);
      for (const { claim } of failed) {
        claimed.delete(claim.token);
        const dead = claim.attempt >= maxAttempts;
        if (!dead) pending.push(claim.message);
        report.failed.push({ claim, dead, retryInMs: 0 });
      }
      for (const claim of released) {
        const { token, message } = claim;
        if (claimed.delete(token)) pending.unshift(message);
        else report.stale.push(claim);
        attempts.set(message.id, attempts.get(message.id) - 1);
      }
      return report;
    }),
    extend: mock.fn(async (claims) => claims.filter(({ token }) => !claimed.has(token))),
    cleanup: mock.fn(async () => 0),
    onDoorbell(listener) {
      source.ring = listener;
      return () => {
        source.muted = true;
      };
    },
  };
  const methods = { dequeue: mock.fn(() => []), markProcessed: mock.fn(), cleanup: mock.fn() };
  const port = { ...methods, open: mock.fn(() => source) };
  return { pending, claimed, source, port, queue: { ...methods, [messageSource]: port } };
}

export const idsOf = (claims) => claims.map(({ message }) => message.id);

/** Fakes the timers of every test of a file, and stops its pollers afterwards. */
export function fakeTimers() {
  beforeEach(() => mock.timers.enable({ apis: ['setTimeout', 'Date'] }));
  afterEach(async () => {
    for (const poller of pollers.splice(0)) void poller.stop({ deadlineMs: 0 });
    await settle(2);
    mock.timers.reset();
    mock.restoreAll();
  });
}
