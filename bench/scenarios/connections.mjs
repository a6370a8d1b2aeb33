// The throughput of many connections from one process to one server, together.
import { atLeast } from '../lib/metrics.mjs';
import { children, roles, round } from './throughput.mjs';

export { roles };

const one = { name: '1 connection', use: 'ours', params: { connections: 1 } };
const many = (connections) => ({
  name: `${connections} connections`,
  use: 'ours',
  params: { connections },
});

export const scenario = {
  name: 'connections',
  title: 'Connections',
  file: import.meta.url,
  cases: ({ quick }) =>
    [200, 2_000].slice(0, quick ? 1 : 2).map((bytes) => ({
      label: bytes === 200 ? '200 B' : '2 KB',
      params: { bytes, count: bytes === 200 ? 100_000 : 40_000 },
      subjects: [
        one,
        ...(quick ? [] : [many(3), many(10), many(30)]),
        many(100),
        { name: 'plain, 100', use: 'plain', params: { connections: 100 } },
      ],
      subject: '100 connections',
      targets: [atLeast(0.8, 'rate', '1 connection')],
      curve: { by: 'connections' },
    })),
  children,
  round,
};
