import { textOf } from './errors.js';
import { limits } from './limits.js';
import type { PollerStats } from './poller.js';
import type { QueueStats } from './queue-types.js';
import type { UnixSocketServerStats } from './server.js';

/** `degraded`: it works, but somebody should look; `unhealthy`: a part does not work. */
export type HealthStatus = 'healthy' | 'degraded' | 'unhealthy';

/** The parts to look at; each is anything with the `stats()` of that part. */
export interface HealthParts {
  server?: { stats(): UnixSocketServerStats } | undefined;
  queue?: { stats(): QueueStats } | undefined;
  poller?: { stats(): PollerStats } | undefined;
}

/** The parts of a service, or its `HybridConsumer`, which stands for all three. */
export interface HealthSources extends HealthParts {
  consumer?: (HealthParts & { isRunning(): boolean }) | undefined;
}

/** From when on a part counts as degraded. */
export interface HealthThresholds {
  /** Pending messages of the queue. Default 10000. */
  maxPending?: number | undefined;
  /** Age of the oldest pending message in milliseconds. Default 60000. */
  maxPendingAgeMs?: number | undefined;
  /** Dead letters. Default 0. */
  maxDead?: number | undefined;
  /**
   * Failed messages of the poller without a success between them. Default 5. As many polls that
   * the queue did not answer make it unhealthy; one of them is enough for degraded.
   */
  maxFailuresInRow?: number | undefined;
}

/** What {@link checkHealth} found. */
export interface HealthSnapshot {
  status: HealthStatus;
  /** Why it is not healthy; one sentence each, the gravest first. */
  reasons: string[];
  /** When it was taken, in milliseconds since 1970. */
  checkedAt: number;
  server?: UnixSocketServerStats;
  queue?: QueueStats;
  poller?: PollerStats;
}

/** Looks at the parts of a service. Never throws: a part that cannot be asked is unhealthy. */
export function checkHealth(
  sources: HealthSources,
  thresholds: HealthThresholds = {},
): HealthSnapshot {
  const {
    maxPending = limits.healthPendingMax,
    maxPendingAgeMs = limits.healthPendingAgeMsMax,
    maxDead = 0,
    maxFailuresInRow = limits.healthFailuresInRowMax,
  } = thresholds;
  const unhealthy: string[] = [];
  const degraded: string[] = [];
  const snapshot: HealthSnapshot = { status: 'healthy', reasons: [], checkedAt: Date.now() };

  const ask = <Stats>(part: string, source: { stats(): Stats } | undefined) => {
    try {
      return source?.stats();
    } catch (error) {
      unhealthy.push(`The ${part} cannot be asked: ${textOf(error)}`);
      return undefined;
    }
  };

  const { consumer } = sources;
  const parts = consumer ?? sources;
  if (consumer?.isRunning() === false) unhealthy.push('The consumer is not running');

  const server = ask('server', parts.server);
  if (server !== undefined) {
    snapshot.server = server;
    if (!server.listening) unhealthy.push('The server is not listening');
    if (server.stalledConnections > 0) {
      degraded.push(`${server.stalledConnections} connections wait for handlers (highWaterMark)`);
    }
  }

  const queue = ask('queue', parts.queue);
  if (queue !== undefined) {
    snapshot.queue = queue;
    if (queue.pending > maxPending) {
      degraded.push(`${queue.pending} messages are pending, more than ${maxPending}`);
    }
    const age = queue.oldestPending === null ? 0 : snapshot.checkedAt - queue.oldestPending;
    if (age > maxPendingAgeMs) {
      degraded.push(`The oldest pending message is ${Math.round(age)} ms old`);
    }
    if (queue.dead > maxDead) degraded.push(`${queue.dead} dead letters wait to be looked at`);
  }

  const poller = ask('poller', parts.poller);
  if (poller !== undefined) {
    snapshot.poller = poller;
    if (!poller.running) unhealthy.push('The poller is not running');
    if (poller.failedPollsInRow > 0) {
      const found = poller.failedPollsInRow > maxFailuresInRow ? unhealthy : degraded;
      found.push(`The last ${poller.failedPollsInRow} polls of the poller failed`);
    }
    if (poller.failuresInRow > maxFailuresInRow) {
      degraded.push(`The last ${poller.failuresInRow} messages failed in the poller`);
    }
  }

  snapshot.reasons = [...unhealthy, ...degraded];
  if (unhealthy.length > 0) snapshot.status = 'unhealthy';
  else if (degraded.length > 0) snapshot.status = 'degraded';
  return snapshot;
}
