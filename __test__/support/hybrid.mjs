// What the tests of the delivery layer share.
import { HybridConsumer, HybridPublisher } from '../../features/hybrid/index.js';
import { SQLiteQueue } from '../../features/sqlite-queue/index.js';
import { folder, listen } from './socket.mjs';

/** The two paths of a consumer that is not there yet. */
export function paths(t) {
  const path = folder(t);
  return { socketPath: path('ipc.sock'), dbPath: path('queue.db') };
}

/** A publisher with the events that it told, closed after the test. */
export function publisherOf(t, config) {
  const publisher = new HybridPublisher(config);
  const events = [];
  for (const name of ['failover', 'recovered', 'backlog', 'error']) {
    publisher.on(name, (what) => events.push([name, what.code ?? what]));
  }
  t.after(() => publisher.close({ deadlineMs: 0 }));
  return { publisher, events, names: () => events.map(([name]) => name) };
}

/**
 * A consumer that runs, with the messages that its handler has seen (`[id, via, attempt]`) and the
 * events that it told; stopped after the test. Polls fast, so that tests of retries need not wait.
 */
export async function consumerOf(t, where, onMessage = () => {}, options = {}) {
  const seen = [];
  const consumer = new HybridConsumer({
    pollInterval: 5,
    ...where,
    ...options,
    onMessage(message, info) {
      seen.push([message.id, info.via, info.attempt]);
      return onMessage(message, info);
    },
  });
  const events = listened(t, consumer);
  await consumer.start();
  return { consumer, seen, events };
}

/** The events of a consumer, which is stopped after the test. */
export function listened(t, consumer) {
  const events = [];
  for (const name of ['duplicate', 'deadLetter', 'error']) {
    consumer.on(name, (what, more) => events.push([name, what, more]));
  }
  t.after(() => consumer.stop({ deadlineMs: 0 }));
  return events;
}

/** A queue of another owner on the file, closed after the test. */
export function queueOf(t, { dbPath }) {
  const queue = new SQLiteQueue({ dbPath });
  t.after(() => queue.close());
  return queue;
}

/** A server that hands its messages to `handler`, with the messages it has seen. */
export async function serverOf(t, { socketPath }, handler = () => {}, options = {}) {
  const seen = [];
  const { server } = await listen(t, { socketPath, ...options });
  server.setMessageHandler((message) => {
    seen.push(message);
    return handler(message);
  });
  return { server, seen };
}

/** How long something took, and for how long the event loop had no turn meanwhile, at most. */
export async function timed(run) {
  const begun = performance.now();
  let blockedMs = 0;
  let last = begun;
  const look = () => {
    const now = performance.now();
    blockedMs = Math.max(blockedMs, now - last);
    last = now;
  };
  const turns = setInterval(look, 1);
  await run();
  clearInterval(turns);
  look();
  return { tookMs: performance.now() - begun, blockedMs };
}

/** What is in the file, by a look from outside the publisher. */
export function stored({ dbPath }) {
  const queue = new SQLiteQueue({ dbPath });
  try {
    return queue.dequeue(100_000);
  } finally {
    queue.close();
  }
}
