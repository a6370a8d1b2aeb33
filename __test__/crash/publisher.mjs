// A program under test: publishes messages and writes down what it was promised.
import { readLedger } from '../../examples/demo/ledger.mjs';
import { HybridPublisher } from '../../features/hybrid/index.js';
import { SQLiteQueue } from '../../features/sqlite-queue/index.js';
import { UnixSocketClient } from '../../features/unix-socket/index.js';
import { messageOf, PublisherLedger } from './ledger.mjs';
import { OriginalClient } from './original.mjs';
import { deafen, hear, openOrEnd, point, say, settings } from './program.mjs';

const { how, socketPath, dbPath, ledgerPath, prefix = 'm', count, bytes, timeoutMs } = settings;
/** Messages per second, until told to end; without it `count` of them, in groups. */
const { rate, group = Number.POSITIVE_INFINITY } = settings;
const TICK_MS = 5;
/** Promises that may be unsettled; whoever got ahead of its disk waits. */
const UNDER_WAY_MAX = settings.underWayMax ?? 1_000;

/** How a publisher of each kind delivers: `publish` resolves to the receipt. */
const kinds = {
  /** The seeded fault: to be *taken* by the kernel counts as accepted. */
  async taken() {
    const client = new UnixSocketClient({ socketPath });
    await client.connect();
    const receipt = { via: 'socket', level: 'taken' };
    return {
      publish: (message) => client.send(message).then(() => receipt),
      close: () => client.disconnect(),
    };
  },

  /** The original: the same over `node:net`, and the queue when the socket refuses. */
  async original() {
    const client = new OriginalClient();
    const queue = new SQLiteQueue({ dbPath });
    await client.connect(socketPath);
    return {
      publish: (message) =>
        client.send(message).then(
          () => ({ via: 'socket', level: 'taken' }),
          () => {
            queue.enqueue(message);
            return { via: 'queue', level: 'durable' };
          },
        ),
      close() {
        client.close();
        queue.close();
      },
    };
  },

  async acknowledged() {
    const client = new UnixSocketClient({ socketPath });
    await client.connect();
    return {
      publish: (message) =>
        client
          .send(message, { ack: true, timeoutMs })
          .then(({ level }) => ({ via: 'socket', level })),
      close: () => client.disconnect(),
    };
  },

  async hybrid() {
    const options = { socketPath, dbPath, timeoutMs, ...settings.options };
    const publisher = openOrEnd(() => new HybridPublisher(options));
    publisher.on('error', () => {});
    return {
      publish: (message) => publisher.publish(message),
      close: () => publisher.close(),
      stats: () => publisher.stats(),
    };
  },
};

// What an earlier life meant to publish, and was promised nothing about, can be published again.
const before = readLedger(ledgerPath);
const open = new Set();
for (const { kind, id } of before) {
  if (kind === 'intent') open.add(id);
  else if (kind === 'accepted') open.delete(id);
}
const numbers = before.map(({ id }) => Number(id.slice(prefix.length)));
let next = numbers.reduce((most, number) => Math.max(most, number), -1) + 1;

const ledger = new PublisherLedger(ledgerPath);
const { publish, close, stats } = await kinds[how]();
const underWay = new Set();
const told = { accepted: 0, rejected: 0, longestMs: 0 };

/** Publishes a message until it is accepted, but not more often than it may. */
async function deliver(id) {
  for (let attempt = 0; attempt < (settings.attempts ?? 1); attempt++) {
    if (await attemptOf(id)) return;
  }
}

async function attemptOf(id) {
  const message = messageOf(id, { bytes });
  ledger.intent(message);
  point('intended');
  const begun = performance.now();
  let isAccepted = false;
  try {
    const receipt = await publish(message);
    point('resolved');
    ledger.accepted(id, receipt);
    point('accepted');
    told.accepted++;
    isAccepted = true;
  } catch (error) {
    ledger.rejected(id, error);
    told.rejected++;
  }
  told.longestMs = Math.max(told.longestMs, performance.now() - begun);
  return isAccepted;
}

function begin(id) {
  const delivery = deliver(id).finally(() => underWay.delete(delivery));
  underWay.add(delivery);
}

say('ready');
if (settings.retries) for (const id of open) begin(id);
if (rate === undefined) {
  for (let number = 0; number < count; number++) {
    if (underWay.size >= group) await Promise.all(underWay);
    begin(`${prefix}${number}`);
  }
} else {
  let due = 0;
  const pacemaker = setInterval(() => {
    for (due += (rate * TICK_MS) / 1_000; due >= 1; due--) {
      if (underWay.size < UNDER_WAY_MAX) begin(`${prefix}${next++}`);
    }
  }, TICK_MS);
  await hear();
  clearInterval(pacemaker);
}
if (settings.exits === 'told') await hear();
if (settings.exits !== undefined) process.exit();
while (underWay.size > 0) await Promise.all(underWay);
say({ ...told, stats: stats?.(), memory: process.resourceUsage().maxRSS * 1024 });
if (settings.stay) await hear();
await close();
deafen();
