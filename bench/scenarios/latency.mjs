// One-way latency at idle: one message about every millisecond, from the call of `send` to the
// handler. The floor is the same number of raw bytes.
import { now } from '../lib/clock.mjs';
import { pool } from '../lib/messages.mjs';
import { atMost } from '../lib/metrics.mjs';
import { quantile } from '../lib/stats.mjs';
import { subject } from '../lib/subject.mjs';

export const scenario = {
  name: 'latency',
  title: 'Idle one-way latency',
  file: import.meta.url,
  cases: ({ quick }) => [
    {
      label: '200 B',
      params: { bytes: 180, count: 250 },
      // Many short rounds: a slow moment of the machine then meets few of them.
      rounds: quick ? 5 : 41,
      subjects: ['ours', 'plain', 'raw', ...(quick ? [] : ['node-ipc', 'zeromq'])],
      targets: [atMost(1, 'p50', 'plain'), atMost(1, 'p99', 'plain')],
    },
  ],
  children: () => ({ receiver: 1, sender: 1 }),
  async round({ receiver, sender }, { count }) {
    await receiver.call('expect', count);
    const [, latencies] = await Promise.all([sender.call('send', count), receiver.call('all')]);
    return { p50: quantile(latencies, 0.5), p99: quantile(latencies, 0.99) };
  },
};

export const roles = {
  async receiver({ subject: name, socketPath }) {
    let latencies = [];
    let expected = 0;
    let done = () => {};
    const { listen } = await subject(name);
    await listen(socketPath, {
      onMessage: async ({ payload }) => {
        latencies.push(now() - payload.sentAt);
        if (latencies.length === expected) done();
      },
    });
    let finished;
    return {
      expect(count) {
        latencies = [];
        expected = count;
        finished = new Promise((resolve) => {
          done = resolve;
        });
      },
      all: () => finished.then(() => latencies),
    };
  },

  async sender({ subject: name, params, socketPath, dbPath }) {
    const messages = pool(params);
    const { connect } = await subject(name);
    const client = await connect(socketPath, dbPath);
    return {
      async send(count) {
        for (let index = 0; index < count; index++) {
          const message = messages[index % messages.length];
          message.payload.sentAt = now();
          await client.send(message);
          await new Promise((resolve) => setTimeout(resolve, 1));
        }
      },
    };
  },
};
