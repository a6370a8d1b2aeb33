// What a person sees: progress while it runs, and the table at the end.
import { compare, readLedger } from './ledger.mjs';

const PLAIN_INTERVAL_MS = 2_000;
const IDS_SHOWN_MAX = 10;

/** Progress on a stream: one line that changes on a terminal, a line now and then elsewhere. */
export class Progress {
  #stream;
  #lastLineAt = 0;
  #shown = false;

  constructor(stream) {
    this.#stream = stream;
  }

  /** Something that happened once. */
  event(text) {
    this.end();
    this.#stream.write(`${text}\n`);
  }

  /** How things stand; `nowMs` decides whether it is time for a plain line. */
  status(text, nowMs) {
    if (this.#stream.isTTY) {
      // Cut to the width: a line that wraps could not be taken back.
      this.#stream.write(`\r\x1b[K${text.slice(0, this.#stream.columns - 1)}`);
      this.#shown = true;
    } else if (nowMs - this.#lastLineAt >= PLAIN_INTERVAL_MS) {
      this.#lastLineAt = nowMs;
      this.#stream.write(`${text}\n`);
    }
  }

  /** Takes the changing line away. */
  end() {
    if (this.#shown) this.#stream.write('\r\x1b[K');
    this.#shown = false;
  }
}

/** Everything that can be told from the ledgers alone. */
export function summarize(sentPaths, handledPath) {
  const sent = sentPaths.flatMap(readLedger);
  const handled = readLedger(handledPath);
  const verdict = compare(sent, handled);
  const sentAt = new Map(sent.map(({ id, at }) => [id, at]));
  const latencies = { socket: [], queue: [] };
  let [first, last, bytes] = [Number.POSITIVE_INFINITY, 0, 0];
  let [smallest, largest] = [Number.POSITIVE_INFINITY, 0];
  for (const entry of sent) {
    first = Math.min(first, entry.at);
    bytes += entry.bytes;
    smallest = Math.min(smallest, entry.bytes);
    largest = Math.max(largest, entry.bytes);
  }
  for (const { id, via, at, duplicate } of handled) {
    if (duplicate || !sentAt.has(id)) continue;
    last = Math.max(last, at);
    // Two clocks of one machine may differ by microseconds.
    latencies[via].push(Math.max(0, at - sentAt.get(id)));
  }
  const seconds = Math.max(0, last - first) / 1_000;
  const perSecond = (amount) => (seconds > 0 ? Math.round(amount / seconds) : 0);
  return {
    ok: verdict.ok,
    sent: sent.length,
    received: verdict.received,
    duplicatesDropped: verdict.duplicates,
    lost: verdict.lost.length,
    repeated: verdict.repeated.length,
    altered: verdict.altered.length,
    unexpected: verdict.unexpected.length,
    lostIds: verdict.lost.slice(0, IDS_SHOWN_MAX),
    candleBytes: sent.length > 0 ? { min: smallest, max: largest, total: bytes } : null,
    throughput: {
      candlesPerSecond: perSecond(verdict.received.socket + verdict.received.queue),
      bytesPerSecond: perSecond(bytes),
    },
    latencyMs: { socket: percentiles(latencies.socket), queue: percentiles(latencies.queue) },
  };
}

/** Null if there is nothing to tell. */
function percentiles(values) {
  if (values.length === 0) return null;
  values.sort((a, b) => a - b);
  const at = (share) => values[Math.ceil(values.length * share) - 1];
  return { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1) };
}

/** The summary for a person. */
export function table(summary) {
  const { received, candleBytes, throughput, latencyMs } = summary;
  const sizes = candleBytes
    ? `${bytes(candleBytes.total)}; ${bytes(candleBytes.min)} to ${bytes(candleBytes.max)} each`
    : '';
  const rows = [
    ['candles sent', summary.sent, sizes],
    ['received via socket', received.socket],
    ['received via queue', received.queue],
    ['duplicates dropped', summary.duplicatesDropped, 'came again because of a kill'],
    ['lost', summary.lost],
    ['handled twice', summary.repeated],
    ['altered', summary.altered],
    ['never sent', summary.unexpected],
    [],
    ['kills', summary.kills, 'of the persistence process, by SIGKILL'],
    ['failovers', summary.failovers, 'times that a worker went over to the queue'],
    ['candles per second', throughput.candlesPerSecond, `${bytes(throughput.bytesPerSecond)}/s`],
  ];
  const lines = rows.map(([name = '', value, note = '']) =>
    `${name.padEnd(22)}${value === undefined ? '' : count(value).padStart(10)}   ${note}`.trimEnd(),
  );
  const columns = ['p50', 'p90', 'p99', 'max'];
  const cells = (texts) => texts.map((text) => text.padStart(10)).join('');
  lines.push('', `${'latency'.padEnd(22)}${cells(columns)}`);
  for (const via of ['socket', 'queue']) {
    const values = columns.map((name) => (latencyMs[via] ? ms(latencyMs[via][name]) : '-'));
    lines.push(`${`via ${via}`.padEnd(22)}${cells(values)}`);
  }
  return lines.join('\n');
}

/** The last line: whether the promise was kept. */
export function verdict(summary) {
  if (summary.ok) return `OK: all ${count(summary.sent)} candles arrived, each once.`;
  const faults = Object.entries({
    lost: summary.lost,
    'handled twice': summary.repeated,
    altered: summary.altered,
    'never sent': summary.unexpected,
  }).filter(([, number]) => number > 0);
  const list = faults.map(([name, number]) => `${count(number)} ${name}`).join(', ');
  const { lost, lostIds } = summary;
  const more = lost > lostIds.length ? ', …' : '';
  const ids = lost > 0 ? ` Lost: ${lostIds.join(', ')}${more}.` : '';
  return `FAILED: of ${count(summary.sent)} candles ${list}.${ids}`;
}

function count(value) {
  return value.toLocaleString('en-US');
}

function bytes(value) {
  if (value < 1_000) return `${value} B`;
  if (value < 1_000_000) return `${(value / 1_000).toFixed(1)} KB`;
  return `${(value / 1_000_000).toFixed(1)} MB`;
}

function ms(value) {
  if (value >= 10_000) return `${(value / 1_000).toFixed(1)} s`;
  return `${value.toFixed(value < 10 ? 2 : 0)} ms`;
}
