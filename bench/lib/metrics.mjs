// What scenarios measure: the unit, and which way is better.

export const METRICS = {
  rate: { label: 'messages/s', higherIsBetter: true },
  cpu: { label: 'µs CPU/message', higherIsBetter: false },
  // The two parts of it, which are told beside plain code only.
  sender: { label: 'µs CPU, sender', higherIsBetter: false, part: true },
  receiver: { label: 'µs CPU, receiver', higherIsBetter: false, part: true },
  p50: { label: 'p50 µs', higherIsBetter: false },
  p99: { label: 'p99 µs', higherIsBetter: false },
  time: { label: 'µs', higherIsBetter: false },
  dequeue: { label: 'µs dequeue(50)', higherIsBetter: false },
  claim: { label: 'µs claim of 50', higherIsBetter: false },
  enqueue: { label: 'µs enqueue', higherIsBetter: false },
  cleanup: { label: 'µs cleanup of 1,000', higherIsBetter: false },
  load: { label: 'ms', higherIsBetter: false },
  core: { label: '% of a core', higherIsBetter: false },
  memory: { label: 'MB peak', higherIsBetter: false },
};

/** A target, as a condition on the ratio ours / theirs, or on the value itself without `against`. */
export const atLeast = (value, metric, against) => ({ kind: '≥', value, metric, against });
export const atMost = (value, metric, against) => ({ kind: '≤', value, metric, against });

/** Whether a median meets a target. */
export function isMet({ kind, value }, median) {
  return kind === '≥' ? median >= value : median <= value;
}

/** A target as text. */
export function targetText({ kind, value, against }) {
  return `${kind} ${value}${against === undefined ? '' : '×'}`;
}
