// The options of the demonstration. Needs nothing but Node, because `--help` and mistakes are
// answered before anything is installed.
import { parseArgs } from 'node:util';
import { CANDLE_BYTES_MIN, LEVEL_BYTES_MAX } from './candles.mjs';

/** Sizes are met to within a price level or two. */
const SIZE_RANGE_BYTES_MIN = 3 * LEVEL_BYTES_MAX;

const NUMBERS = {
  workers: { fallback: 3, min: 1, max: 64, help: 'worker processes' },
  seconds: { fallback: 15, min: 1, max: 86_400, help: 'how long candles are sent' },
  rate: { fallback: 200, min: 1, max: 10_000, help: 'candles per second and worker' },
  kills: { fallback: 5, min: 0, max: 10_000, help: 'times the persistence process is killed' },
  'outage-ms': {
    fallback: 2_000,
    min: 0,
    max: 3_600_000,
    help: 'how long it stays away after one of the kills',
  },
  'min-bytes': {
    fallback: CANDLE_BYTES_MIN,
    min: CANDLE_BYTES_MIN,
    max: 200_000,
    help: 'smallest candle, as JSON',
  },
  'max-bytes': {
    fallback: 20_000,
    min: CANDLE_BYTES_MIN + SIZE_RANGE_BYTES_MIN,
    max: 200_000,
    help: 'largest candle, as JSON',
  },
  seed: { fallback: 1, min: 0, max: 2 ** 32 - 1, help: 'of the simulated trades and the kills' },
};

const FLAGS = {
  keep: { help: 'keep the folder with the ledgers and the queue, and say where it is' },
  json: { help: 'print the result as JSON; progress goes to standard error' },
  help: { help: 'print this', short: 'h' },
};

export const usage = `Usage: npm start -- [options]

Workers aggregate simulated trades into footprint candles and send them to a persistence process
over a Unix socket. That process is killed and restarted along the way; meanwhile the candles go
through a SQLite queue. At the end the ledgers of both sides are compared.

Options:
${[
  ...Object.entries(NUMBERS).map(([name, { help, fallback }]) =>
    line(`--${name} <n>`, `${help} (default ${fallback})`),
  ),
  ...Object.entries(FLAGS).map(([name, { help, short }]) =>
    line(short ? `-${short}, --${name}` : `--${name}`, help),
  ),
].join('\n')}

Exit code: 0 if every candle arrived, 1 if not, 2 if an option is wrong.`;

function line(option, help) {
  return `  ${option.padEnd(18)}${help}`;
}

/** Somebody wrote an option that does not exist or a value that it cannot have. */
export class UsageError extends Error {}

/**
 * The options by their names in camel case.
 *
 * @throws {UsageError}
 */
export function parseOptions(args) {
  const values = parse(args);
  const options = { keep: !!values.keep, json: !!values.json, help: !!values.help };
  for (const [name, rule] of Object.entries(NUMBERS)) {
    options[camelCase(name)] = wholeNumber(name, values[name], rule);
  }
  if (options.maxBytes - options.minBytes < SIZE_RANGE_BYTES_MIN) {
    throw new UsageError(
      `--max-bytes must be at least ${SIZE_RANGE_BYTES_MIN} more than --min-bytes`,
    );
  }
  return options;
}

function parse(args) {
  const known = {};
  for (const name of Object.keys(NUMBERS)) known[name] = { type: 'string' };
  for (const [name, { short }] of Object.entries(FLAGS)) {
    known[name] = short ? { type: 'boolean', short } : { type: 'boolean' };
  }
  try {
    return parseArgs({ args, options: known }).values;
  } catch (error) {
    throw new UsageError(error.message);
  }
}

function wholeNumber(name, text, { fallback, min, max }) {
  if (text === undefined) return fallback;
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < min || value > max) {
    throw new UsageError(`--${name} must be a whole number from ${min} to ${max}, not '${text}'`);
  }
  return value;
}

function camelCase(name) {
  return name.replace(/-(.)/g, (_, letter) => letter.toUpperCase());
}

/**
 * What every way to start the demonstration does first: options for `args`, or, when there is
 * nothing to run, `undefined` after `--help` was answered or `process.exitCode` was set to 2.
 */
export function optionsOrUsage(args) {
  try {
    const options = parseOptions(args);
    if (!options.help) return options;
    console.log(usage);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    console.error(`${error.message}\n\n${usage}`);
    process.exitCode = 2;
  }
  return undefined;
}
