// A program under test: publishes far more than can be handled or stored, as fast as it can, and
// says what became of it and how much memory that took.
import { HybridPublisher } from '../../features/hybrid/index.js';
import { deafen, say, settings } from './program.mjs';

const { socketPath, dbPath, count, bytes, options } = settings;
const TURN = 100;
const payload = { text: 'x'.repeat(bytes) };
const publisher = new HybridPublisher({ socketPath, dbPath, ...options });
publisher.on('error', () => {});
const outcomes = {};
const settle = (outcome) => {
  outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
};

say('ready');
const before = process.memoryUsage().rss;
let longestMs = 0;
let underWay = 0;
for (let number = 0; number < count; number++) {
  const begun = performance.now();
  underWay++;
  publisher
    .publish({ id: `m${number}`, type: 'crash', payload })
    .then(
      ({ level }) => settle(level),
      ({ code }) => settle(code),
    )
    .finally(() => {
      underWay--;
      longestMs = Math.max(longestMs, performance.now() - begun);
    });
  if (number % TURN === 0) await new Promise((resolve) => setImmediate(resolve));
}
while (underWay > 0) await new Promise((resolve) => setTimeout(resolve, 10));
const growth = process.resourceUsage().maxRSS * 1024 - before;
say({ outcomes, longestMs, growth, stats: publisher.stats() });
await publisher.close({ deadlineMs: 0 });
deafen();
