// Medians with their range, and ratios of paired rounds.

/** The value below which this part (0 to 1) of the values lies; between two, the nearer one. */
export function quantile(values, part) {
  if (values.length === 0) return Number.NaN;
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.min(sorted.length - 1, Math.round(part * (sorted.length - 1)))];
}

/** Median, smallest and largest of the values; of an even number, the mean of the middle two. */
export function summary(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length / 2;
  const median = Number.isInteger(half)
    ? (sorted[half - 1] + sorted[half]) / 2
    : sorted[Math.floor(half)];
  return { median, min: sorted[0], max: sorted.at(-1) };
}

/** How `ours` relates to `theirs`, round by round, so that a slow moment of the machine meets both. */
export function ratio(ours, theirs) {
  const rounds = Math.min(ours.length, theirs.length);
  return summary(Array.from({ length: rounds }, (_, round) => ours[round] / theirs[round]));
}
