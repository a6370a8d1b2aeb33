// What survives when publishers and consumers are killed or stopped at any moment.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isLong, KILLS, randomOf, timeout } from './crash/settings.mjs';
import { noOracle, Stage } from './crash/stage.mjs';

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const TIMEOUT_MS = 20_000;
/** Timers are late on a busy machine and in a stopped process; what never settles is later. */
const LATE_MS = 70_000;

/** Two publishers and a consumer, disturbed until it is enough, then brought to rest. */
class Traffic {
  #stage;
  #random;
  #consumer;
  #consumerSettings;
  #publisherSettings;
  #publishers = [];
  counts = { publisher: 0, consumer: 0, both: 0, stopPublisher: 0, stopConsumer: 0 };

  constructor(t, { consumer, publisher }) {
    this.#stage = new Stage(t);
    this.#random = randomOf(t);
    this.#consumerSettings = { how: 'hybrid', ...consumer };
    this.#publisherSettings = { how: 'hybrid', rate: 300, timeoutMs: TIMEOUT_MS, ...publisher };
  }

  async start() {
    await Promise.all([this.#startConsumer(), this.#startPublisher(0), this.#startPublisher(1)]);
  }

  async #startConsumer() {
    this.#consumer = await this.#stage.start('consumer', 'handled', this.#consumerSettings);
  }

  async #startPublisher(index) {
    const settings = { ...this.#publisherSettings, prefix: `p${index}-` };
    const started = this.#stage.start('publisher', `published-${index}`, settings);
    this.#publishers[index] = await started;
  }

  /** One disturbance at a random time, and up again after a random one. */
  async disturb() {
    const random = this.#random;
    await pause(random() * 150);
    const kinds = Object.keys(this.counts);
    const kind = kinds[Math.floor(random() * kinds.length)];
    this.counts[kind]++;
    const index = Math.floor(random() * 2);
    if (kind.startsWith('stop')) {
      const stopped = kind === 'stopConsumer' ? this.#consumer : this.#publishers[index];
      stopped.process.kill('SIGSTOP');
      // Now and then longer than a message waits in its publisher, or a lease holds.
      const longest = isLong && random() < 0.02 ? 60_000 : 1_500;
      await pause(random() * longest);
      stopped.process.kill('SIGCONT');
      return;
    }
    const stage = this.#stage;
    const killsPublisher = kind !== 'consumer';
    const killsConsumer = kind !== 'publisher';
    await Promise.all([
      killsPublisher && stage.kill(this.#publishers[index]),
      killsConsumer && stage.kill(this.#consumer),
    ]);
    await pause(random() * 100);
    await Promise.all([
      killsPublisher && this.#startPublisher(index),
      killsConsumer && this.#startConsumer(),
    ]);
  }

  /** Lets everything come to rest, and asks the oracle. */
  async rest() {
    for (const publisher of this.#publishers) {
      const { longestMs } = await publisher.ask('end');
      assert.ok(longestMs < TIMEOUT_MS + LATE_MS, `publish() took ${longestMs} ms to settle`);
      await this.#stage.ends(publisher);
    }
    await this.#stage.drain(this.#consumer);
    return this.#stage;
  }
}

describe('killed and stopped at random times', { timeout, skip: noOracle }, () => {
  const durable = { dedup: 'durable' };
  for (const [name, consumer, publisher] of [
    ['handlers that end at once', { options: durable }, {}],
    ['duplicates removed by memory', { handlerMs: 1 }, { retries: true }],
    ['handlers of 5 ms, publishing again', { options: durable, handlerMs: 5 }, { retries: true }],
    ['handlers of 100 ms', { options: durable, handlerMs: 100 }, { retries: true }],
    [
      'long messages',
      { options: durable, handlerMs: 1 },
      { retries: true, rate: 60, bytes: 100_000 },
    ],
    ['stored early', { options: durable, handlerMs: 5 }, { options: { spillAfterMs: 20 } }],
  ]) {
    test(name, async (t) => {
      const traffic = new Traffic(t, { consumer, publisher });
      await traffic.start();
      for (let kill = 0; kill < KILLS / 6; kill++) await traffic.disturb();
      t.diagnostic(JSON.stringify(traffic.counts));
      // What memory knows dies with its process, and rows of which the socket's copy was handled
      // may still be there then.
      const forgives = consumer.options === durable ? [] : ['duplicated'];
      const verdict = (await traffic.rest()).assertKept(forgives);
      assert.ok(verdict.accepted > 0);
      assert.deepEqual([verdict.pending, verdict.dead], [0, 0]);
    });
  }
});
