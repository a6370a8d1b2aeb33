// What can be set from outside for the crash tests; CONTRIBUTING.md lists the variables.
import { isLong, random } from '../support/socket.mjs';

/** A whole number from the environment; by default `short` or, in the long form, `long`. */
function setting(name, short, long) {
  const text = process.env[`FLOWTRACE_IPC_CRASH_${name}`];
  if (text === undefined) return isLong ? long : short;
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) {
    throw new Error(`FLOWTRACE_IPC_CRASH_${name} must be a whole number above 0, not '${text}'`);
  }
  return value;
}

/** The short form does the same every time, as far as it can; the long form looks further. */
const SEED = setting('SEED', 1, 1 + Math.floor(Math.random() * 2 ** 31));

/** How often the random tests of one file kill and stop, which they divide among themselves. */
export const KILLS = setting('KILLS', 20, 300);

/** Messages of each test that drains a queue. */
export const MESSAGES = setting('MESSAGES', 4_000, 100_000);

/** Calls that each test of failing system calls lets fail at most, one in each of its runs. */
export const FAULTS = setting('FAULTS', 3, 1_000_000);

/** Milliseconds after which a group of tests has failed: something in it hangs. */
export const timeout = isLong ? 7_200_000 : 300_000;

export { isLong };

/** The random numbers of a test. It says where they come from, so that they can be had again. */
export function randomOf(t) {
  t.diagnostic(`FLOWTRACE_IPC_CRASH_SEED=${SEED}`);
  let seed = SEED;
  for (const character of t.name) seed = Math.imul(seed ^ character.charCodeAt(0), 0x01000193);
  return random(seed);
}

/** `FAULTS` evenly spread numbers of 1 to `count`, at most all of them. */
export function sample(count) {
  const wanted = Math.min(count, FAULTS);
  const step = wanted > 1 ? (count - 1) / (wanted - 1) : 0;
  return Array.from({ length: wanted }, (_, index) => Math.round(1 + index * step));
}
