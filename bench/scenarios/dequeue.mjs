// Taking messages out: `dequeue(50)` and `markProcessed` of each; claims in batches of 50, by hand
// and by the poller.
import { atLeast } from '../lib/metrics.mjs';
import { worker } from '../lib/queue-worker.mjs';

export const roles = { worker };

const plain = { name: 'plain', params: { count: 200 } };
const plainjob = { name: 'plainjob', params: { count: 400 } };

export const scenario = {
  name: 'dequeue',
  title: 'Taking messages out',
  file: import.meta.url,
  cases: ({ quick }) => [
    {
      label: 'dequeue(50) + markProcessed',
      params: { bytes: 2_000, count: quick ? 2_000 : 10_000 },
      subjects: ['ours', plain, plainjob],
      targets: [atLeast(15, 'rate', 'plain')],
    },
    {
      label: 'claim, handle, complete',
      params: { bytes: 2_000, count: quick ? 4_000 : 20_000 },
      subjects: [
        { name: 'claims', use: 'ours', params: { way: 'claim' } },
        { name: 'poller', use: 'ours', params: { way: 'poller' } },
        plain,
        plainjob,
      ],
      subject: 'claims',
      targets: ['claims', 'poller'].map((of) => ({ ...atLeast(50, 'rate', 'plain'), of })),
    },
  ],
  children: () => ({ worker: 1 }),
  async round({ worker }, { count, way }) {
    await worker.call('fill', count);
    const { rate, cpu } = await worker.call('drain', count, way);
    return { rate, cpu };
  },
};
