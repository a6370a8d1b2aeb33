// The queue under a growing backlog: `dequeue(50)`, a claim of 50, one durable `enqueue`, and the
// cleanup of 1,000 processed rows.
import { now } from '../lib/clock.mjs';
import { numbered, pool } from '../lib/messages.mjs';
import { atMost } from '../lib/metrics.mjs';
import { quantile } from '../lib/stats.mjs';
import { subject } from '../lib/subject.mjs';

const SMALLEST = 1_000;
const BATCH = 50;
const CLEANED = 1_000;
const FILL_ROWS = 5_000;
/** Calls in a round; the round's figure is their median. */
const CALLS = 40;

const named = (rows) => `${rows.toLocaleString('en-US')} rows`;

export const scenario = {
  name: 'backlog',
  title: 'Backlog',
  file: import.meta.url,
  cases({ quick, rows }) {
    const steps = [];
    for (let step = SMALLEST; step < rows; step *= 10)
      if (!quick || step === SMALLEST) steps.push(step);
    steps.push(rows);
    return [
      {
        label: `up to ${named(rows)}`,
        params: { bytes: 200 },
        rounds: quick ? 3 : 9,
        subjects: steps.map((step) => ({ name: named(step), use: 'ours', params: { rows: step } })),
        subject: named(rows),
        targets:
          rows === SMALLEST
            ? []
            : [atMost(1.5, 'dequeue', named(SMALLEST)), atMost(1.5, 'claim', named(SMALLEST))],
        curve: { by: 'rows' },
      },
    ];
  },
  children: () => ({ worker: 1 }),
  round: ({ worker }) => worker.call('measure'),
};

export const roles = {
  async worker({ subject: name, params: { rows, ...shape }, dbPath }) {
    const messages = pool(shape);
    const { openQueue } = await subject(name);
    const { queue } = openQueue(dbPath);
    let next = 0;
    const fresh = (count) => {
      next += count;
      return numbered(
        messages,
        `m${String(next).padStart(12, '0')}`,
        count,
        1_700_000_000_000 + next,
      );
    };
    for (let filled = 0; filled < rows; filled += FILL_ROWS) {
      queue.enqueueMany(fresh(Math.min(FILL_ROWS, rows - filled)));
    }
    const median = (before, work, after) => {
      const times = [];
      for (let call = 0; call < CALLS; call++) {
        const input = before();
        const started = now();
        const output = work(input);
        times.push(now() - started);
        after(output);
      }
      return quantile(times, 0.5);
    };
    const nothing = () => {};
    return {
      measure() {
        const dequeue = median(nothing, () => queue.dequeue(BATCH), nothing);
        const claim = median(
          nothing,
          () => queue.claim({ limit: BATCH }),
          (claims) => {
            for (const claim of claims) queue.release(claim);
          },
        );
        const enqueue = median(
          () => fresh(1)[0],
          (message) => queue.enqueue(message),
          nothing,
        );
        // The oldest go, so that as many rows are left as there were.
        queue.enqueueMany(fresh(CLEANED - CALLS));
        queue.markProcessedMany(queue.dequeue(CLEANED).map(({ id }) => id));
        const started = now();
        const cleaned = queue.cleanup(0);
        const cleanup = now() - started;
        if (cleaned !== CLEANED) throw new Error(`${cleaned} rows were cleaned up`);
        return { dequeue, claim, enqueue, cleanup };
      },
    };
  },
};
