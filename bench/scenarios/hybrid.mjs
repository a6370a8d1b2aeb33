// `HybridPublisher.publish` on the healthy path, which is acknowledged, against plain `send`: to the same
// server, and to a `HybridConsumer`, which drops copies.
import { cpuMeter, now } from '../lib/clock.mjs';
import { numbered, pool } from '../lib/messages.mjs';
import { atLeast } from '../lib/metrics.mjs';
import { sendWindows, subject } from '../lib/subject.mjs';
import { children, round, roles as throughput } from './throughput.mjs';

export const scenario = {
  name: 'hybrid',
  title: 'Hybrid publish',
  file: import.meta.url,
  cases: ({ quick }) =>
    [
      ['200 B', 200, 100_000],
      ['2 KB', 2_000, 30_000],
    ].map(([label, bytes, count]) => ({
      label,
      params: { bytes, count: quick ? count / 2 : count },
      subjects: [
        { name: 'send', use: 'ours' },
        { name: 'publish', use: 'hybrid' },
        { name: 'to a consumer', use: 'hybrid-consumer' },
      ],
      subject: 'publish',
      targets: ['publish', 'to a consumer'].map((of) => ({ ...atLeast(0.6, 'rate', 'send'), of })),
    })),
  children,
  round,
};

export const roles = {
  receiver: throughput.receiver,

  async sender({ subject: name, params, socketPath, dbPath }) {
    const messages = pool(params);
    const { connect } = await subject(name);
    const client = await connect(socketPath, dbPath);
    let rounds = 0;
    return {
      async send(count) {
        // Every message has an id of its own, as the removal of duplicates expects it.
        const unique = numbered(messages, `r${rounds++}`, count);
        const storedBefore = client.stored?.();
        const cpu = cpuMeter();
        const started = now();
        await sendWindows(client, unique, count);
        const sent = { started, cpu: cpu() };
        const stored = client.stored?.() - storedBefore;
        if (stored > 0) throw new Error(`${stored} of ${count} messages took the queue`);
        return sent;
      },
    };
  },
};
