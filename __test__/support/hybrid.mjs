// What the tests of the delivery layer share.
import { HybridPublisher } from '../../features/hybrid/index.js';
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

/** What is in the file, by a look from outside the publisher. */
export function stored({ dbPath }) {
  const queue = new SQLiteQueue({ dbPath });
  try {
    return queue.dequeue(100_000);
  } finally {
    queue.close();
  }
}
