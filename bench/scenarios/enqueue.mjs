// `enqueue`, one durable commit each. The floor is a write of as many bytes as ours adds to its
// log, and one `fdatasync`: at the end of a file that grows, and in one that is overwritten.
import { now } from '../lib/clock.mjs';
import { pool } from '../lib/messages.mjs';
import { atLeast, atMost } from '../lib/metrics.mjs';
import { worker as queueWorker } from '../lib/queue-worker.mjs';
import { openFile } from '../subjects/append.mjs';

export const scenario = {
  name: 'enqueue',
  title: 'Durable enqueue',
  file: import.meta.url,
  cases: ({ quick }) =>
    [
      ['2 KB', 2_000],
      ['200 B', 200],
      ['20 KB', 20_000],
    ]
      .slice(0, quick ? 1 : 3)
      .map(([label, bytes]) => ({
        label,
        params: { bytes, count: 100 },
        rounds: quick ? 5 : 25,
        subjects: [
          'ours',
          'plain',
          'append',
          { name: 'overwrite', use: 'append', params: { overwrite: true } },
          'plainjob',
        ],
        // Longer messages are a matter of the disk alone.
        targets: bytes > 2_000 ? [] : [atLeast(4, 'rate', 'plain'), atMost(1.5, 'time', 'append')],
      })),
  children: () => ({ worker: 1 }),
  round: ({ worker }, { count }) => worker.call('enqueue', count),
};

export const roles = {
  worker: (context) =>
    context.subject === 'append' ? appender(context.params, context.dbPath) : queueWorker(context),
};

function appender({ overwrite = false, ...params }, dbPath) {
  const file = openFile(dbPath, pool(params), overwrite);
  return {
    enqueue(count) {
      const started = now();
      for (let index = 0; index < count; index++) file.append();
      return { time: (now() - started) / count };
    },
  };
}
