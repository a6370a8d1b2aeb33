// What the programs under test share. Each is told its settings as JSON and says lines of JSON; it
// may be told to end itself at a chosen point, so that no kill depends on luck.
import { writeSync } from 'node:fs';
import { createInterface } from 'node:readline';

export const settings = JSON.parse(process.argv[2]);

/** Says something to the test; it is out when this returns. */
export function say(value) {
  const line = Buffer.from(`${JSON.stringify(value)}\n`);
  for (let written = 0; written < line.length; ) {
    try {
      written += writeSync(1, line, written);
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error;
    }
  }
}

/** What the test says, one after the other; after the last, undefined. */
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
export async function hear() {
  const { value, done } = await lines.next();
  return done ? undefined : JSON.parse(value);
}

/** No longer listens, so that the process can end. */
export function deafen() {
  process.stdin.destroy();
}

/** What `make` makes; where it throws, the test is told why, and that is all. */
export function openOrEnd(make) {
  try {
    return make();
  } catch ({ name, code }) {
    say({ refused: { name, code } });
    process.exit();
  }
}

const passed = new Map();

/**
 * A point at which the test can have this process killed or stopped: by
 * `settings.signals = { [point]: [signal, n] }` at the n-th time that it is reached.
 */
export function point(name) {
  const wanted = settings.signals?.[name];
  if (wanted === undefined) return;
  const times = (passed.get(name) ?? 0) + 1;
  passed.set(name, times);
  const [signal, nth] = wanted;
  if (times !== nth) return;
  say({ point: name });
  process.kill(process.pid, signal);
}

export function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
