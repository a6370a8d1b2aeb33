// A program under test: handles what comes by the socket, and what is in the queue.
import { HybridConsumer } from '../../features/hybrid/index.js';
import { SQLiteQueue, SQLiteQueuePoller } from '../../features/sqlite-queue/index.js';
import { UnixSocketServer } from '../../features/unix-socket/index.js';
import { HandlerLedger } from './ledger.mjs';
import { OriginalServer, pollOnce } from './original.mjs';
import { hear, point, say, settings, sleep } from './program.mjs';

const { how, socketPath, dbPath, ledgerPath, handlerMs = 0, isHeld = false } = settings;
const ledger = new HandlerLedger(ledgerPath);
let handled = 0;
let stop = () => {};
let stats = () => ({});

async function handle(message, via) {
  point('begun');
  // Whoever is held never gets to its work: it is killed before.
  if (isHeld) await new Promise(() => {});
  if (handlerMs > 0) await sleep(handlerMs);
  ledger.handled(message, via);
  handled++;
  point('handled');
}

/** The package's own poller, for the queue of kinds that consist of a server and a poller. */
async function poll() {
  const queue = new SQLiteQueue({ dbPath });
  const onMessage = (message) => handle(message, { via: 'queue' });
  const poller = new SQLiteQueuePoller({ queue, pollInterval: 50, onMessage });
  poller.on('error', (error) => console.error(error));
  await poller.start();
  return () => isEmpty(queue);
}

function isEmpty(queue) {
  const { pending, claimed } = queue.stats();
  return pending + claimed === 0;
}

async function serve(onMessage) {
  const server = new UnixSocketServer({ socketPath });
  server.on('error', (error) => console.error(error));
  server.setMessageHandler(onMessage);
  await server.start();
}

/** Each starts a consumer, and returns what tells whether its queue is drained. */
const kinds = {
  async server() {
    await serve((message) => handle(message, { via: 'socket' }));
    return await poll();
  },

  /** The seeded fault: the handler resolves, so that the message is acknowledged, and then works. */
  async early() {
    await serve((message) => {
      void handle(message, { via: 'socket' });
    });
    return await poll();
  },

  async hybrid() {
    const consumer = new HybridConsumer({
      socketPath,
      dbPath,
      pollInterval: 50,
      ...settings.options,
      onMessage: handle,
    });
    consumer.on('error', (error, context) => console.error(context, error));
    await consumer.start();
    stop = () => consumer.stop();
    stats = () => consumer.stats();
    return () => isEmpty(consumer.queue);
  },

  async original() {
    const server = new OriginalServer();
    await server.listen(socketPath, (message) => handle(message, { via: 'socket' }));
    const queue = new SQLiteQueue({ dbPath });
    const round = () => pollOnce(queue, 50, (message) => handle(message, { via: 'queue' }));
    setInterval(round, 50);
    return () => queue.stats().pending === 0;
  },
};

const isDrained = await kinds[how]();
say('ready');
for (;;) {
  const request = await hear();
  if (request === undefined) break;
  if (request === 'stats') say(stats());
  if (request === 'drain') {
    while (!isDrained()) await sleep(20);
    say({ handled });
  }
}
await stop();
process.exit();
