// `enqueueMany(100)`, and `enqueueAsync` with 256 outstanding, against a plain enqueue of each
// message. The floor of their CPU time is `JSON.stringify` of the payloads.
import { cpuMeter } from '../lib/clock.mjs';
import { pool } from '../lib/messages.mjs';
import { atLeast, atMost } from '../lib/metrics.mjs';
import { worker as queueWorker } from '../lib/queue-worker.mjs';

const OURS = ['enqueueMany', 'enqueueAsync'];

export const scenario = {
  name: 'enqueue-batch',
  title: 'Durable enqueue in batches',
  file: import.meta.url,
  cases: ({ quick }) =>
    [
      ['2 KB', 2_000, 10_000],
      ['20 KB', 20_000, 2_000],
      ['200 B', 200, 20_000],
    ]
      .slice(0, quick ? 1 : 3)
      .map(([label, bytes, count]) => ({
        label,
        params: { bytes, count: quick ? count / 2 : count },
        subjects: [
          { name: 'enqueueMany', use: 'ours', params: { way: 'many' } },
          { name: 'enqueueAsync', use: 'ours', params: { way: 'async' } },
          { name: 'plain', params: { count: quick ? 100 : 200 } },
          'json',
          { name: 'plainjob', params: { way: 'many' } },
        ],
        subject: 'enqueueMany',
        // Of longer messages the disk is the limit, of shorter ones the row and its indexes.
        targets: OURS.flatMap((of) => [
          ...(bytes > 2_000 ? [] : [{ ...atLeast(40, 'rate', 'plain'), of }]),
          ...(bytes === 2_000 ? [{ ...atMost(2, 'cpu', 'json'), of }] : []),
        ]),
      })),
  children: () => ({ worker: 1 }),
  async round({ worker }, { count, way }) {
    const { rate, cpu } = await worker.call('enqueue', count, way);
    return rate === undefined ? { cpu } : { rate, cpu };
  },
};

export const roles = {
  worker: (context) =>
    context.subject === 'json' ? stringifier(pool(context.params)) : queueWorker(context),
};

function stringifier(messages) {
  return {
    enqueue(count) {
      const cpu = cpuMeter();
      let length = 0;
      for (let index = 0; index < count; index++) {
        length += JSON.stringify(messages[index % messages.length].payload).length;
      }
      return { cpu: cpu() / count, length };
    },
  };
}
