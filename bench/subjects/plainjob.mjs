// The npm package plainjob: a job queue on better-sqlite3. It sets synchronous NORMAL, which does
// not survive power loss; here it is FULL, as for the others.
import { openDatabase, peer } from '../lib/peers.mjs';

const TYPE = 'job';

export async function openQueue(dbPath) {
  const { better, defineQueue } = await peer('plainjob');
  const db = await openDatabase(dbPath);
  const silent = { error() {}, warn() {}, info() {}, debug() {} };
  const queue = defineQueue({ connection: better(db), logger: silent });
  db.pragma('synchronous = FULL');
  const enqueueMany = (messages) => queue.addMany(TYPE, messages);
  return {
    enqueue: (message) => queue.add(TYPE, message),
    enqueueMany,
    fill: enqueueMany,
    drains: {
      async dequeue(handle) {
        for (;;) {
          const job = queue.getAndMarkJobAsProcessing(TYPE);
          if (job === undefined) return;
          handle(JSON.parse(queue.getJobById(job.id).data));
          queue.markJobAsDone(job.id);
        }
      },
    },
  };
}
