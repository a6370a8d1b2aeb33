// The picture of a run: how many times better ours is on each path, and the curves below.
import { panels } from './curves.mjs';
import { METRICS } from './metrics.mjs';
import { element, line, logScale, svg, text } from './svg.mjs';
import { number } from './table.mjs';

const WIDTH = 860;
const LEFT = 230;
const RIGHT = 150;
const BAR = 14;
const GAP = 10;
const HEAD = 74;
const TICKS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];

/** Each kind of comparison has its colour. */
const FLOORS = ['json', 'raw', 'append', 'overwrite'];
const kindOf = (against) =>
  against.startsWith('plain') && against !== 'plainjob' ? 0 : FLOORS.includes(against) ? 2 : 1;
const KINDS = [
  [0, 'than plain'],
  [1, 'than others'],
  [2, 'than the floor'],
];

/**
 * The bars of a result: those with a target, and every comparison of its main metric. Results
 * without any target are told by the table alone, and points of a curve by the curve.
 */
export function bars(result) {
  const main = result.curve === undefined ? result.comparisons[0]?.metric : undefined;
  if (!result.comparisons.some(({ target }) => target !== undefined)) return [];
  return result.comparisons
    .filter(({ metric, target, against }) => against !== undefined && (target || metric === main))
    .map(({ of, metric, against, ratio, target }) => {
      const better = (value) => (METRICS[metric].higherIsBetter ? value : 1 / value);
      return {
        label: `${of === 'ours' ? '' : `${of}, `}${METRICS[metric].label}`,
        against,
        kind: kindOf(against),
        times: better(ratio.median),
        target: target && better(target.value),
      };
    });
}

/** The whole picture as SVG text. */
export function chart({ machine, package: version, quick, results }) {
  const groups = results
    .map((result) => ({ title: `${result.title}: ${result.label}`, bars: bars(result) }))
    .filter((group) => group.bars.length > 0);
  const all = groups.flatMap((group) => group.bars.flatMap(({ times, target }) => [times, target]));
  const values = all.filter((value) => value > 0 && Number.isFinite(value));
  const low = Math.min(0.5, ...values);
  const high = Math.max(2, ...values);
  const x = logScale(low, high, LEFT, WIDTH - RIGHT);

  const parts = [];
  let y = HEAD;
  for (const group of groups) {
    parts.push(text(8, y + 11, group.title, 'head'));
    y += BAR + 4;
    for (const bar of group.bars) {
      parts.push(...drawBar(bar, x, y));
      y += BAR + 2;
    }
    y += GAP;
  }
  const grid = TICKS.filter((tick) => tick >= low && tick <= high).flatMap((tick) => [
    line(x(tick), HEAD - 8, x(tick), y - GAP, tick === 1 ? 'one' : 'grid'),
    text(x(tick), HEAD - 12, `${tick}×`, 'small', 'middle'),
  ]);
  const curves = panels(results, WIDTH, y + 10);
  const title = `@flowtrace/ipc ${version}: times better`;
  const where = `${machine.cpu}, ${machine.cores} cores, ${machine.os}, Node ${machine.node}, ${machine.date}${quick ? ', quick' : ''}`;
  return svg(WIDTH, curves.bottom + 10, title, [
    text(8, 20, title, 'title'),
    text(8, 38, where, 'small'),
    ...legend(),
    ...grid,
    ...parts,
    ...curves.parts,
  ]);
}

function legend() {
  const y = 15;
  const entries = KINDS.flatMap(([kind, label], index) => {
    const x = WIDTH - 400 + index * 105;
    return [
      element('rect', { x, y: y - 4, width: 10, height: 10, class: `s${kind}` }),
      text(x + 14, y + 5, label, 'small'),
    ];
  });
  const x = WIDTH - 70;
  return [...entries, line(x, y - 5, x, y + 7, 'target'), text(x + 6, y + 5, 'target', 'small')];
}

function drawBar({ label, against, kind, times, target }, x, y) {
  const [from, to] = [x(Math.min(1, times)), x(Math.max(1, times))];
  const parts = [
    text(LEFT - 8, y + 11, label, 'muted', 'end'),
    element('rect', {
      x: from,
      y,
      width: Math.max(1, to - from),
      height: BAR,
      rx: 2,
      class: `s${kind}`,
    }),
    text(Math.max(to, x(target ?? 0.5)) + 6, y + 11, `${number(times)}× ${against}`),
  ];
  if (target !== undefined) parts.push(line(x(target), y - 1, x(target), y + BAR + 1, 'target'));
  return parts;
}
