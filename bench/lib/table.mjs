// The results as a table for a terminal.
import { METRICS, targetText } from './metrics.mjs';

/** A number with as many digits as its size needs. */
export function number(value) {
  if (!Number.isFinite(value)) return '';
  const size = Math.abs(value);
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : 2;
  return value.toLocaleString('en-US', {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
}

const HEAD = [
  'path',
  'metric',
  'value',
  'against',
  'its value',
  'ratio (min … max)',
  'target',
  '',
  'peak MB',
];

/** All comparisons, one a line. Those with a target come first within their case. */
export function table(results) {
  const lines = results.flatMap(rows);
  return align([HEAD, HEAD.map(() => ''), ...lines]);
}

function rows(result) {
  const lines = result.comparisons.map((comparison, index) => [
    index === 0 ? `${result.scenario} ${result.label}` : '',
    ...cells(result, comparison),
  ]);
  if (lines.length === 0) {
    for (const [name, metrics] of Object.entries(result.subjects)) {
      for (const [metric, { median }] of Object.entries(metrics)) {
        lines.push([`${result.scenario} ${result.label}`, unit(metric), number(median), name]);
      }
    }
  }
  for (const note of result.notes) lines.push([`${result.scenario} ${result.label}`, note]);
  return [...lines, []];
}

function cells({ subjects }, { of, metric, against, ratio, target, met }) {
  const own = subjects[of][metric].median;
  const theirs = against === undefined ? '' : number(subjects[against][metric].median);
  const times = against === undefined ? '' : '×';
  return [
    `${of === 'ours' ? '' : `${of}, `}${unit(metric)}`,
    number(own),
    against ?? '',
    theirs,
    `${number(ratio.median)}${times} (${number(ratio.min)} … ${number(ratio.max)})`,
    target === undefined ? '' : targetText(target),
    target === undefined ? '' : met ? 'met' : 'MISSED',
    [of, against].map((name) => number(subjects[name]?.memory?.median)).join(' / '),
  ];
}

const unit = (metric) => METRICS[metric]?.label ?? metric;

function align(lines) {
  const widths = HEAD.map((_, column) =>
    // A note may be as long as it likes.
    Math.max(...lines.filter((line) => line.length > 2).map((line) => (line[column] ?? '').length)),
  );
  return lines
    .map((line) =>
      line
        .map((cell, column) => cell.padEnd(widths[column]))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** How many targets are met, and which are not. */
export function verdict(results) {
  const targets = results.flatMap((result) =>
    result.comparisons
      .filter(({ target }) => target !== undefined)
      .map((comparison) => ({ ...comparison, result })),
  );
  const missed = targets.filter(({ met }) => !met);
  const unknown = results.flatMap((result) => result.missed.map((target) => ({ result, target })));
  return [
    `${targets.length - missed.length} of ${targets.length} targets met.`,
    ...missed.map(
      ({ result, of, metric, against, ratio, target }) =>
        `  missed: ${result.scenario} ${result.label}, ${of === 'ours' ? '' : `${of}, `}${unit(metric)}` +
        `${against === undefined ? '' : ` against ${against}`}: ${number(ratio.median)}, target ${targetText(target)}`,
    ),
    ...unknown.map(
      ({ result, target }) =>
        `  not measured: ${result.scenario} ${result.label}, ${unit(target.metric)} against ${target.against}`,
    ),
  ].join('\n');
}
