// A program under test: stores messages in a queue, in one of three ways.
import { SQLiteQueue } from '../../features/sqlite-queue/index.js';
import { messageOf, PublisherLedger } from './ledger.mjs';
import { deafen, hear, openOrEnd, point, say, settings } from './program.mjs';

const { dbPath, ledgerPath, how, prefix, count, durability, bytes } = settings;
/** How often a message is stored again after a failure, then idempotently. */
const { retries = 0, group = 50 } = settings;
const queue = openOrEnd(() => new SQLiteQueue({ dbPath, durability, busyTimeoutMs: 10_000 }));
const ledger = new PublisherLedger(ledgerPath);
const receipt = { via: 'queue', level: 'durable' };
let rejected = 0;

function accept(id) {
  point('stored');
  ledger.accepted(id, receipt);
  point('accepted');
}

function reject(id, error) {
  rejected++;
  ledger.rejected(id, error);
}

/** Each stores messages and accepts or rejects them; returns those that it rejected. */
const ways = {
  async one([message], options) {
    try {
      queue.enqueue(message, options);
    } catch (error) {
      reject(message.id, error);
      return [message];
    }
    accept(message.id);
    return [];
  },
  async many(messages, options) {
    try {
      queue.enqueueMany(messages, options);
    } catch (error) {
      for (const { id } of messages) reject(id, error);
      return messages;
    }
    for (const { id } of messages) accept(id);
    return [];
  },
  async async(messages, options) {
    const failed = [];
    const store = (message) =>
      queue.enqueueAsync(message, options).then(
        () => accept(message.id),
        (error) => {
          reject(message.id, error);
          failed.push(message);
        },
      );
    await Promise.all(messages.map(store));
    return failed;
  },
};

say('ready');
const size = how === 'one' ? 1 : group;
for (let first = 0; first < count; first += size) {
  const messages = Array.from({ length: Math.min(size, count - first) }, (_, index) =>
    messageOf(`${prefix}${first + index}`, { bytes }),
  );
  for (const message of messages) ledger.intent(message);
  point('intended');
  let failed = await ways[how](messages);
  for (let retry = 0; retry < retries && failed.length > 0; retry++) {
    failed = await ways[how](failed, { idempotent: true });
  }
}
say({ rejected });
if (settings.stay) await hear();
queue.close();
deafen();
