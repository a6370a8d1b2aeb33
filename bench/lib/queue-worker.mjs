// The one role that most scenarios of the queue share: a process with the file open.
import { cpuMeter, now } from './clock.mjs';
import { numbered, pool } from './messages.mjs';
import { subject } from './subject.mjs';

/** Rows that a backlog is filled with at a time. */
const FILL_ROWS = 1_000;

/** What `work` took: microseconds and CPU microseconds for each of `count`. */
async function measured(count, work) {
  const cpu = cpuMeter();
  const started = now();
  await work();
  const took = now() - started;
  return { rate: (count / took) * 1e6, cpu: cpu() / count, time: took / count };
}

export async function worker({ subject: name, params, dbPath }) {
  const messages = pool(params);
  const { openQueue } = await subject(name);
  const queue = await openQueue(dbPath);
  let batches = 0;
  const fresh = (count) => numbered(messages, `${process.pid}-${batches++}`, count);
  const inBatches = (all, size, use) => {
    for (let at = 0; at < all.length; at += size) use(all.slice(at, at + size));
  };
  const ways = {
    one: (all) => {
      for (const message of all) queue.enqueue(message);
    },
    many: (all) => inBatches(all, 100, (batch) => queue.enqueueMany(batch)),
    /** A new message is stored whenever one of those outstanding is. */
    async: (all) => {
      let next = 0;
      const store = async () => {
        while (next < all.length) await queue.enqueueAsync(all[next++]);
      };
      return Promise.all(Array.from({ length: 256 }, store));
    },
  };
  return {
    enqueue(count, way) {
      const all = fresh(count);
      return measured(count, () => ways[way ?? 'one'](all));
    },
    fill(count) {
      inBatches(fresh(count), FILL_ROWS, (batch) => queue.fill(batch));
    },
    drain(count, way) {
      let handled = 0;
      return measured(count, async () => {
        await queue.drains[way ?? 'dequeue'](({ id }) => {
          if (id !== undefined) handled++;
        }, count);
        if (handled < count) throw new Error(`${handled} of ${count} messages were delivered`);
      });
    },
  };
}
