// What a service costs that has nothing to do: a server with 100 connections, and a poller on an
// empty queue.
import { cpuMeter, now } from '../lib/clock.mjs';
import { atMost } from '../lib/metrics.mjs';
import { subject } from '../lib/subject.mjs';

const CONNECTIONS = 100;

export const scenario = {
  name: 'idle',
  title: 'Idle service',
  file: import.meta.url,
  cases: ({ quick }) => [
    {
      label: '100 connections and a poller',
      params: { ms: quick ? 2_000 : 10_000 },
      rounds: quick ? 1 : 3,
      subjects: quick ? ['ours'] : ['ours', 'plain'],
      targets: [atMost(0.5, 'core')],
    },
  ],
  children: () => ({ server: 1, clients: 1 }),
  round: ({ server }, { ms }) => server.call('rest', ms),
};

export const roles = {
  async server({ subject: name, socketPath, dbPath }) {
    const { listen, startPoller } = await subject(name);
    await listen(socketPath, { onMessage: async () => {} });
    await startPoller(dbPath);
    return {
      async rest(ms) {
        const cpu = cpuMeter();
        const started = now();
        await new Promise((resolve) => setTimeout(resolve, ms));
        return { core: (cpu() / (now() - started)) * 100 };
      },
    };
  },

  async clients({ subject: name, socketPath, dbPath }) {
    const { connect } = await subject(name);
    await Promise.all(Array.from({ length: CONNECTIONS }, () => connect(socketPath, dbPath)));
    return {};
  },
};
