// Small line charts of what grows: message size, connections, backlog, processes.
import { METRICS } from './metrics.mjs';
import { element, line, logScale, text } from './svg.mjs';
import { number } from './table.mjs';

const HEIGHT = 190;
const PLOT = { left: 62, right: 16, top: 40, bottom: 34 };
const NAMES = { bytes: 'bytes of a message', rows: 'rows of backlog' };

/** The curves of all results: `{ title, x, series: [{ name, points: [[x, y, memory]] }] }`. */
export function curves(results) {
  const found = [];
  for (const result of results) {
    if (result.curve?.by !== undefined) found.push(bySubject(result));
  }
  const sized = results.filter(({ curve }) => curve?.x !== undefined);
  for (const scenario of new Set(sized.map((result) => result.scenario))) {
    found.push(byCase(sized.filter((result) => result.scenario === scenario)));
  }
  return found.filter(({ series }) => series.some(({ points }) => points.length > 2));
}

/** The subjects of one case are the points; each metric makes a line. */
function bySubject({ title, label, curve: { by }, subjects, subjectParams }) {
  const lines = new Map();
  for (const [name, metrics] of Object.entries(subjects)) {
    const own = subjectParams[name];
    if (name.startsWith('plain')) continue;
    for (const [metric, { median }] of Object.entries(metrics)) {
      if (metric === 'memory' || metric === 'cpu' || METRICS[metric].part) continue;
      const points = lines.get(metric) ?? [];
      lines.set(metric, [...points, [own[by], median, metrics.memory?.median]]);
    }
  }
  const series = [...lines].map(([metric, points]) => ({ name: METRICS[metric].label, points }));
  return { title: `${title}: ${label}`, x: by, series };
}

/** The cases are the points; each subject makes a line. */
function byCase(results) {
  const names = [...new Set(results.flatMap(({ subjects }) => Object.keys(subjects)))];
  const series = names.map((name) => ({
    name: `${name}, messages/s`,
    points: results
      .filter(({ subjects }) => subjects[name]?.rate !== undefined)
      .map(({ curve, subjects }) => [
        curve.x,
        subjects[name].rate.median,
        subjects[name].memory?.median,
      ]),
  }));
  return { title: results[0].title, x: results[0].curve.unit, series };
}

/** Draws them two in a row, from `top` down. */
export function panels(results, width, top) {
  const all = curves(results);
  const parts = all.flatMap((curve, index) =>
    panel(curve, (index % 2) * (width / 2), top + Math.floor(index / 2) * HEIGHT, width / 2),
  );
  return { parts, bottom: top + Math.ceil(all.length / 2) * HEIGHT };
}

function panel({ title, x: name, series }, left, top, width) {
  const points = series.flatMap((one) => one.points);
  const range = (at) => [
    Math.min(...points.map((point) => point[at])),
    Math.max(...points.map((point) => point[at])),
  ];
  const [xs, ys] = [range(0), range(1)];
  const memory = series[0].points.map((point) => point[2]);
  const x = logScale(...xs, left + PLOT.left, left + width - PLOT.right);
  const y = logScale(ys[0] / 1.2, ys[1] * 1.2, top + HEIGHT - PLOT.bottom, top + PLOT.top);
  const axis = (value) => line(x(xs[0]), y(value), x(xs[1]), y(value), 'grid');
  const label = (value) => text(left + PLOT.left - 6, y(value) + 4, number(value), 'small', 'end');
  return [
    text(left + 8, top + 12, title, 'head'),
    ...series.map((one, index) =>
      text(left + 8 + index * 105, top + 28, one.name, `small s${index % 4}`),
    ),
    ...ys.flatMap((value) => [axis(value), label(value)]),
    ...series.flatMap((one, index) => draw(one.points, x, y, `s${index % 4}`)),
    ...[...new Set(points.map(([value]) => value))]
      .filter((_value, index, values) => index === 0 || index === values.length - 1)
      .map((value) => text(x(value), top + HEIGHT - 20, short(value), 'small', 'middle')),
    text(
      left + width / 2,
      top + HEIGHT - 20,
      `${NAMES[name] ?? name}; peak memory ${number(memory[0])} to ${number(memory.at(-1))} MB`,
      'small',
      'middle',
    ),
  ];
}

function draw(points, x, y, kind) {
  const path = points.map(([at, value], index) => {
    return `${index === 0 ? 'M' : 'L'}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
  });
  return [
    element('path', { d: path.join(''), class: `line ${kind}` }),
    ...points.map(([at, value]) =>
      element('circle', { cx: x(at), cy: y(value), r: 2.5, class: kind }),
    ),
  ];
}

/** 1,000 as 1k, 10,000,000 as 10M. */
function short(value) {
  if (value >= 1e6) return `${value / 1e6}M`;
  return value >= 1_000 ? `${value / 1_000}k` : String(value);
}
