// The same as `throughput`, over all sizes of messages.
import { children, roles, round } from './throughput.mjs';

export { roles };

const SIZES = [
  ['100 B', 100],
  ['300 B', 300],
  ['1 KB', 1_000],
  ['3 KB', 3_000],
  ['10 KB', 10_000],
  ['30 KB', 30_000],
  ['100 KB', 100_000],
  ['300 KB', 300_000],
  ['1 MB', 1_000_000],
  ['3 MB', 3_000_000],
  ['8 MB', 8_000_000],
];

export const scenario = {
  name: 'sizes',
  title: 'Message size',
  file: import.meta.url,
  long: true,
  cases: () =>
    SIZES.map(([label, bytes]) => ({
      label,
      params: { bytes, count: Math.max(16, Math.min(100_000, Math.round(6e7 / bytes))) },
      subjects: ['ours', 'plain'],
      rounds: 3,
      curve: { x: bytes, unit: 'bytes' },
    })),
  children,
  round,
};
