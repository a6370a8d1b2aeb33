// One-way throughput of one client: windows of 256 sends are awaited, or each by itself; a round ends
// when the receiver has handled all. The floor is `JSON.stringify` and `JSON.parse` of the same messages.
import { Countdown, cpuMeter, now } from '../lib/clock.mjs';
import { pool } from '../lib/messages.mjs';
import { atLeast, atMost } from '../lib/metrics.mjs';
import { sendWindows, subject } from '../lib/subject.mjs';

const SIZES = [
  { label: '200 B', bytes: 200, count: 100_000, quick: 60_000, faster: 3, cpu: 1.6 },
  { label: '2 KB', bytes: 2_000, count: 40_000, quick: 12_000, faster: 1.5, cpu: 1.2 },
  { label: '20 KB', bytes: 20_000, count: 4_000, quick: 800, faster: 1.5, cpu: 1.2 },
  { label: '1 MB', bytes: 1_000_000, count: 256, quick: 25, faster: 2, cpu: 1.2 },
];

export const scenario = {
  name: 'throughput',
  title: 'One-way throughput',
  file: import.meta.url,
  cases({ quick }) {
    const sizes = SIZES.map(({ label, bytes, faster, cpu, ...counts }) => {
      const count = quick ? counts.quick : counts.count;
      return {
        label,
        params: { bytes, count },
        subjects: [
          'ours',
          'plain',
          { name: 'json', params: { count: Math.ceil(count / 4) } },
          ...peers(bytes, count, quick),
        ],
        rounds: quick && bytes > 100_000 ? 3 : undefined,
        targets: [atLeast(faster, 'rate', 'plain'), atMost(cpu, 'cpu', 'json')],
      };
    });
    const count = quick ? 12_000 : 30_000;
    // Pairs of short strings; in several scripts; of many strings and few numbers; of ids, times and texts that
    // come again; of such texts alone; with keys that are data.
    const shapes = [
      ['2 KB, order books', 'book', count],
      ['2 KB, several scripts', 'text', count],
      ['2 KB, rows', 'rows', count],
      ['2 KB, events', 'event', count],
      ['2 KB, states', 'state', count],
      // V8 takes a tenth of a millisecond to read one of these.
      ['2 KB, maps', 'map', count / 8],
    ];
    const others = shapes.slice(0, quick ? 1 : shapes.length).map(([label, shape, count]) => ({
      label,
      params: { bytes: 2_000, count, shape },
      subjects: ['ours', 'plain', { name: 'json', params: { count: count / 4 } }],
      targets: [atLeast(1.5, 'rate', 'plain'), atMost(1.2, 'cpu', 'json')],
    }));
    const alone = {
      label: '200 B, each awaited',
      params: { bytes: 200, count: quick ? 12_000 : 30_000, window: 1 },
      subjects: ['ours', 'plain'],
      targets: [atLeast(1, 'rate', 'plain')],
    };
    return [...sizes, alone, ...others];
  },
  children,
  round,
};

/** Long messages are left out: node-ipc searches all its text anew at every read. */
function peers(bytes, count, quick) {
  if (bytes > (quick ? 200 : 2_000)) return [];
  const few = Math.min(count / 2, 2_000_000 / bytes);
  return [
    { name: 'node-ipc', params: { count: few } },
    { name: 'zeromq', params: { count: count / 2 } },
  ];
}

export function children(_params, name) {
  return name === 'json' ? { sender: 1 } : { receiver: 1, sender: 1 };
}

export async function round({ receiver, sender }, { count }) {
  await receiver?.call('expect', count);
  const [sent, handled] = await Promise.all([
    sender.call('send', count),
    receiver?.call('handled'),
  ]);
  const cpu = (sent.cpu + (handled?.cpu ?? 0)) / count;
  // What takes no way has no speed to compare.
  if (handled === undefined) return { cpu };
  return {
    rate: (count / (handled.at - sent.started)) * 1e6,
    cpu,
    sender: sent.cpu / count,
    receiver: handled.cpu / count,
  };
}

export const roles = {
  async receiver({ subject: name, socketPath, dbPath }) {
    const countdown = new Countdown();
    let cpu;
    const { listen } = await subject(name);
    await listen(socketPath, { onMessage: async () => countdown.hit() }, dbPath);
    return {
      expect(count) {
        countdown.start(count);
        cpu = cpuMeter();
      },
      handled: async () => ({ at: await countdown.reached, cpu: cpu() }),
    };
  },

  async sender({ subject: name, params, socketPath, dbPath }) {
    const messages = pool(params);
    const send = await sending(name, params, messages, socketPath, dbPath);
    return {
      async send(count) {
        const cpu = cpuMeter();
        const started = now();
        await send(count);
        return { started, cpu: cpu() };
      },
    };
  },
};

async function sending(name, { connections = 1, window }, messages, socketPath, dbPath) {
  if (name === 'json') return (count) => writeAndParse(messages, count);
  const { connect } = await subject(name);
  const clients = [];
  while (clients.length < connections) clients.push(await connect(socketPath, dbPath));
  return (count) => {
    const upTo = (client) => Math.floor((client * count) / connections);
    return Promise.all(
      clients.map((client, at) => sendWindows(client, messages, upTo(at + 1) - upTo(at), window)),
    );
  };
}

function writeAndParse(messages, count) {
  let keys = 0;
  for (let index = 0; index < count; index++) {
    keys += JSON.parse(JSON.stringify(messages[index % messages.length])).id.length;
  }
  return keys;
}
