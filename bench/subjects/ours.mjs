// The package as it stands in this checkout.
import { createRequire } from 'node:module';
import { root } from '../../scripts/tools.mjs';

const require = createRequire(import.meta.url);
export const ipc = require(root);
const { SQLiteQueue, SQLiteQueuePoller, UnixSocketClient, UnixSocketServer } = ipc;

export async function listen(socketPath, { onMessage, onRequest }) {
  const server = new UnixSocketServer({ socketPath });
  if (onMessage) server.setMessageHandler(onMessage);
  if (onRequest) server.setRequestHandler(onRequest);
  await server.start();
}

export async function connect(socketPath) {
  const client = new UnixSocketClient({ socketPath });
  await client.connect();
  return client;
}

export function openQueue(dbPath) {
  const queue = new SQLiteQueue({ dbPath });
  return {
    queue,
    enqueue: (message) => queue.enqueue(message),
    enqueueMany: (messages) => queue.enqueueMany(messages),
    enqueueAsync: (message) => queue.enqueueAsync(message),
    fill: (messages) => queue.enqueueMany(messages),
    drains: {
      dequeue: (handle) => dequeueAll(queue, handle),
      claim: (handle) => claimAll(queue, handle),
      poller: (handle, count) => pollAll(queue, handle, count),
    },
  };
}

async function dequeueAll(queue, handle) {
  for (;;) {
    const messages = queue.dequeue(50);
    if (messages.length === 0) return;
    for (const message of messages) {
      handle(message);
      queue.markProcessed(message.id);
    }
  }
}

async function claimAll(queue, handle) {
  // Where a build can complete a batch in one transaction, that is what a user would call.
  const completeAll =
    typeof queue.completeMany === 'function'
      ? (claims) => queue.completeMany(claims)
      : (claims) => {
          for (const claim of claims) queue.complete(claim);
        };
  for (;;) {
    const claims = queue.claim({ limit: 50 });
    if (claims.length === 0) return;
    for (const { message } of claims) handle(message);
    completeAll(claims);
  }
}

async function pollAll(queue, handle, count) {
  let left = count;
  let done;
  const finished = new Promise((resolve) => {
    done = resolve;
  });
  const poller = new SQLiteQueuePoller({
    queue,
    batchSize: 50,
    onMessage: async (message) => {
      handle(message);
      if (--left === 0) done();
    },
  });
  await poller.start();
  await finished;
  // Settles what the last batch handled.
  await poller.stop();
}

export function startPoller(dbPath) {
  const queue = new SQLiteQueue({ dbPath });
  return new SQLiteQueuePoller({ queue, onMessage: async () => {} }).start();
}
