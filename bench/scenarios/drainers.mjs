// Several processes drain one queue with a poller each; together they handle every message once.
import { now } from '../lib/clock.mjs';
import { numbered, pool } from '../lib/messages.mjs';
import { ipc } from '../subjects/ours.mjs';

const named = (processes) => (processes === 1 ? '1 process' : `${processes} processes`);

export const scenario = {
  name: 'drainers',
  title: 'Draining processes',
  file: import.meta.url,
  cases: ({ quick }) => [
    {
      label: '2 KB',
      params: { bytes: 2_000, count: quick ? 5_000 : 20_000 },
      rounds: 3,
      subjects: (quick ? [1, 4] : [1, 2, 4, 8]).map((processes) => ({
        name: named(processes),
        use: 'ours',
        params: { processes },
      })),
      subject: named(quick ? 4 : 8),
      curve: { by: 'processes' },
    },
  ],
  children: ({ processes }) => ({ filler: 1, drainer: processes }),
  async round({ filler, drainer }, { count }) {
    const drainers = [drainer].flat();
    await filler.call('fill', count);
    await Promise.all(drainers.map((actor) => actor.call('start')));
    await filler.call('drained');
    const parts = await Promise.all(drainers.map((actor) => actor.call('stop')));
    const handled = parts.reduce((sum, part) => sum + part.handled, 0);
    if (handled !== count) throw new Error(`${handled} of ${count} messages were handled`);
    const started = Math.min(...parts.map((part) => part.started));
    const ended = Math.max(...parts.map((part) => part.last));
    return { rate: (count / (ended - started)) * 1e6 };
  },
};

const PAUSE_MS = 20;

export const roles = {
  filler({ params, dbPath }) {
    const messages = pool(params);
    const queue = new ipc.SQLiteQueue({ dbPath });
    let rounds = 0;
    return {
      fill(count) {
        const all = numbered(messages, `r${rounds++}`, count);
        for (let at = 0; at < count; at += 1_000) queue.enqueueMany(all.slice(at, at + 1_000));
      },
      async drained() {
        for (;;) {
          const { pending, claimed } = queue.stats();
          if (pending === 0 && claimed === 0) return;
          await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
        }
      },
    };
  },

  drainer({ dbPath }) {
    const queue = new ipc.SQLiteQueue({ dbPath });
    let poller;
    let counts;
    return {
      async start() {
        const own = { handled: 0, started: now(), last: 0 };
        counts = own;
        poller = new ipc.SQLiteQueuePoller({
          queue,
          onMessage: async () => {
            own.handled++;
            own.last = now();
          },
        });
        await poller.start();
      },
      async stop() {
        await poller.stop();
        return counts;
      },
    };
  },
};
