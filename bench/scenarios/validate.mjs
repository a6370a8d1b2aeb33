// `validateQueueMessage` against the same schema in zod, whose own copies are used: with zod 3 the
// package is loaded as an installation that has that zod.

import { cpuMeter, now } from '../lib/clock.mjs';
import { installation } from '../lib/installation.mjs';
import { numbered, pool } from '../lib/messages.mjs';
import { atMost } from '../lib/metrics.mjs';
import { peer } from '../lib/peers.mjs';

export const scenario = {
  name: 'validate',
  title: 'validateQueueMessage',
  file: import.meta.url,
  cases: ({ quick }) =>
    [
      ['200 B', 200],
      ['2 KB', 2_000],
    ]
      .slice(0, quick ? 1 : 2)
      .map(([label, bytes]) => ({
        label,
        params: { bytes, count: 200_000 },
        rounds: quick ? 7 : 15,
        subjects: ['zod 3', 'zod 4'].flatMap((zod) => [
          { name: `ours, ${zod}`, use: 'ours', params: { zod } },
          { name: zod, params: { zod } },
        ]),
        subject: 'ours, zod 4',
        targets: ['ours, zod 3', 'ours, zod 4'].map((of) => ({
          ...atMost(1, 'time', 'zod 3'),
          of,
        })),
      })),
  children: () => ({ validator: 1 }),
  async round({ validator }, { count }) {
    const { time, cpu } = await validator.call('validate', count);
    return { time, cpu };
  },
};

const PACKAGES = { 'zod 3': 'zod', 'zod 4': 'zod4' };

export const roles = {
  async validator({ subject, params, dbPath }) {
    const messages = numbered(pool(params), 'm', 2_000);
    const zod = PACKAGES[params.zod];
    const validate =
      subject === 'ours'
        ? installation(dbPath, zod).require('@flowtrace/ipc').validateQueueMessage
        : await byHand(zod);
    return {
      validate(count) {
        const cpu = cpuMeter();
        const started = now();
        let length = 0;
        for (let index = 0; index < count; index++) {
          length += validate(messages[index % messages.length]).id.length;
        }
        return { time: (now() - started) / count, cpu: cpu() / count, length };
      },
    };
  },
};

async function byHand(zod) {
  const { z } = await peer(zod);
  const schema = z.object({
    id: z.string().min(1),
    type: z.string().min(1),
    payload: z.any(),
    timestamp: z.number().positive(),
  });
  return (message) => schema.parse(message);
}
