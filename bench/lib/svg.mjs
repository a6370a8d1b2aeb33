// Elements of a picture that can be read on a light and on a dark page.

const FONT = '-apple-system, "Segoe UI", Helvetica, Arial, sans-serif';

/** The colours of series, without custom properties, which not every viewer knows. */
function series(colours) {
  return colours
    .map(
      (colour, at) =>
        `.s${at} { fill: ${colour}; } .line.s${at} { fill: none; stroke: ${colour}; }`,
    )
    .join(' ');
}

// Later rules win: a coloured text is named after `.small`.
const STYLE = `
  text { font: 12px ${FONT}; fill: #24292f; }
  .title { font-size: 16px; font-weight: 600; }
  .head { font-weight: 600; }
  .small { font-size: 11px; }
  .small, .muted { fill: #57606a; }
  .grid { stroke: #d0d7de; }
  .one { stroke: #57606a; }
  .target { stroke: #cf222e; stroke-width: 2; }
  .line { stroke-width: 2; }
  ${series(['#0969da', '#8250df', '#1a7f37', '#bc4c00'])}
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .small, .muted { fill: #8b949e; }
    .grid { stroke: #30363d; }
    .one { stroke: #8b949e; }
    .target { stroke: #ff7b72; }
    ${series(['#58a6ff', '#bc8cff', '#3fb950', '#f0883e'])}
  }`;

const escaped = (value) => String(value).replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);

const round = (value) => (typeof value === 'number' ? Math.round(value * 10) / 10 : value);

/** An element; numbers are rounded to tenths of a pixel. */
export function element(name, attributes, content) {
  const list = Object.entries(attributes)
    .map(([key, value]) => ` ${key}="${escaped(round(value))}"`)
    .join('');
  return content === undefined ? `<${name}${list}/>` : `<${name}${list}>${content}</${name}>`;
}

/** A line of text; `anchor` is `start`, `middle` or `end`. */
export function text(x, y, content, kind, anchor = 'start') {
  const attributes = { x, y, 'text-anchor': anchor, ...(kind && { class: kind }) };
  return element('text', attributes, escaped(content));
}

export const line = (x1, y1, x2, y2, kind) => element('line', { x1, y1, x2, y2, class: kind });

/** The whole picture. There is no background: the page shows through. */
export function svg(width, height, title, parts) {
  const body = [element('title', {}, escaped(title)), `<style>${STYLE}\n</style>`, ...parts];
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${round(height)}" viewBox="0 0 ${width} ${round(height)}" role="img">\n${body.join('\n')}\n</svg>\n`;
}

/** A logarithmic scale from values to pixels. */
export function logScale(low, high, from, to) {
  const [begin, end] = [Math.log(low), Math.log(high)];
  return (value) => from + ((Math.log(value) - begin) / (end - begin || 1)) * (to - from);
}
