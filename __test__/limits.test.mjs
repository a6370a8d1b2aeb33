import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { limits } from '../dist/limits.js';

const read = (path) => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');

test('the face knows only limits that the core has', () => {
  const names = [...read('ts/limits.ts').matchAll(/readonly (\w+): number;/g)].map(
    ([, name]) => name,
  );
  assert.ok(names.length > 20);
  for (const name of names) assert.equal(typeof limits[name], 'number', name);
});

/** The options that the README shows with their defaults, by the limit that is the default. */
const shown = {
  spillAfterMs: 'spillAfterMs',
  timeoutMs: 'publishTimeoutMs',
  maxPending: 'publishedMax',
  maxPendingLength: 'publishedLengthMax',
  // The first of three, which is the consumer's.
  concurrency: 'consumerConcurrency',
  dedupWindow: 'dedupWindow',
  maxConnections: 'connectionsMax',
  maxFrameBytes: 'frameBytesMax',
  highWaterMark: 'highWaterMark',
  mode: 'socketMode',
  frameTimeoutMs: 'frameTimeoutMs',
  connectTimeout: 'connectTimeoutMs',
  reconnectDelay: 'reconnectDelayMs',
  maxReconnectDelay: 'reconnectDelayMsMax',
  refusalGraceMs: 'refusalGraceMs',
  retentionHours: 'retentionHours',
  busyTimeoutMs: 'busyTimeoutMs',
  pollInterval: 'pollIntervalMs',
  batchSize: 'batchSize',
  maxAttempts: 'attemptsMax',
  retryDelayMs: 'retryDelayMs',
  leaseMs: 'leaseMs',
};

test('the README shows the defaults that are in force', () => {
  const readme = read('README.md');
  for (const [option, limit] of Object.entries(shown)) {
    const [, value] = new RegExp(`^  ${option}: ([\\w* ]+),`, 'm').exec(readme) ?? [];
    assert.ok(value, `${option} is not shown`);
    // Numbers with separators, octal ones, and products such as `64 * 2 ** 20`.
    const number = value
      .split('*')
      .map((factor) => factor.trim())
      .join('*')
      .split(/(?<!\*)\*(?!\*)/)
      .map((factor) => factor.split('**').map((part) => Number(part.replaceAll('_', ''))))
      .map(([base, exponent = 1]) => base ** exponent)
      .reduce((product, factor) => product * factor, 1);
    assert.equal(number, limits[limit], option);
  }
});
