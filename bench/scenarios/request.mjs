// Requests and their replies over one connection, 100 outstanding or one at a time. The floor is
// a ping-pong of raw bytes.
import { cpuMeter, now } from '../lib/clock.mjs';
import { pool } from '../lib/messages.mjs';
import { atLeast, atMost } from '../lib/metrics.mjs';
import { quantile } from '../lib/stats.mjs';
import { subject } from '../lib/subject.mjs';

export const scenario = {
  name: 'request',
  title: 'Request and response',
  file: import.meta.url,
  cases: ({ quick }) => [
    {
      label: '100 outstanding',
      params: { bytes: 200, outstanding: 100, count: quick ? 10_000 : 50_000 },
      subjects: ['ours', 'plain', 'node-ipc', 'zeromq'],
      targets: [atLeast(2, 'rate', 'plain')],
    },
    {
      label: '1 outstanding',
      params: { bytes: 200, outstanding: 1, count: quick ? 500 : 1_000 },
      rounds: quick ? 5 : 21,
      subjects: ['ours', 'plain', 'raw', 'zeromq'],
      targets: [atMost(1, 'p50', 'plain')],
    },
  ],
  children: () => ({ server: 1, client: 1 }),
  async round({ server, client }, { count }) {
    await server.call('begin');
    const { started, ended, cpu, p50, p99 } = await client.call('request', count);
    const served = await server.call('cpu');
    return {
      rate: (count / (ended - started)) * 1e6,
      p50,
      p99,
      cpu: (cpu + served) / count,
      sender: cpu / count,
      receiver: served / count,
    };
  },
};

export const roles = {
  async server({ subject: name, socketPath }) {
    let cpu;
    const { listen } = await subject(name);
    await listen(socketPath, { onRequest: async () => ({ success: true }) });
    return {
      begin() {
        cpu = cpuMeter();
      },
      cpu: () => cpu(),
    };
  },

  async client({ subject: name, params, socketPath, dbPath }) {
    const messages = pool(params);
    const { connect } = await subject(name);
    const client = await connect(socketPath, dbPath, 'request');
    return {
      async request(count) {
        const times = new Float64Array(count);
        let next = 0;
        const one = async () => {
          while (next < count) {
            const index = next++;
            const sentAt = now();
            await client.request(messages[index % messages.length]);
            times[index] = now() - sentAt;
          }
        };
        const cpu = cpuMeter();
        const started = now();
        await Promise.all(Array.from({ length: params.outstanding }, one));
        const ended = now();
        return {
          started,
          ended,
          cpu: cpu(),
          p50: quantile(times, 0.5),
          p99: quantile(times, 0.99),
        };
      },
    };
  },
};
