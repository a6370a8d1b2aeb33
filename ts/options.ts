import { invalidArgument } from './errors.js';

/** Largest delay that timers of JavaScript take, in milliseconds. */
export const DELAY_MS_MAX = 2 ** 31 - 1;

interface Range {
  min: number;
  max: number;
  /** Whether `Infinity` is allowed too, in the sense of "no limit". */
  infinite?: boolean;
}

/** A whole number within a range, or the default when it is missing. */
export function wholeNumber<Default>(
  name: string,
  value: unknown,
  fallback: Default,
  { min, max, infinite = false }: Range,
): number | Default {
  if (value === undefined) return fallback;
  if (infinite && value === Number.POSITIVE_INFINITY) return value;
  if (!Number.isInteger(value) || (value as number) < min || (value as number) > max) {
    throw invalidArgument(
      `${name} must be a whole number from ${min} to ${max}, not ${describe(value)}`,
    );
  }
  return value as number;
}

/** A string. */
export function string(name: string, value: unknown): string {
  if (typeof value !== 'string') {
    throw invalidArgument(`${name} must be a string, not ${describe(value)}`);
  }
  return value;
}

/** A non-empty string. */
export function text(name: string, value: unknown): string {
  if (typeof value !== 'string' || value === '') {
    throw invalidArgument(`${name} must be a non-empty string, not ${describe(value)}`);
  }
  return value;
}

/** An options object. */
export function object(name: string, value: unknown): object {
  if (typeof value !== 'object' || value === null) {
    throw invalidArgument(`${name} must be an object, not ${describe(value)}`);
  }
  return value;
}

/** An array. What is missing in it is undefined, as for whoever reads it. */
export function array<T>(name: string, value: readonly T[]): readonly T[] {
  if (!Array.isArray(value)) {
    throw invalidArgument(`${name} must be an array, not ${describe(value)}`);
  }
  return Array.from(value as readonly T[]);
}

/** A function. */
export function callable(name: string, value: unknown): void {
  if (typeof value !== 'function') {
    throw invalidArgument(`${name} must be a function, not ${describe(value)}`);
  }
}

/** One of several words, by default the first. */
export function oneOf<Value extends string>(
  name: string,
  value: unknown,
  values: readonly [Value, ...Value[]],
): Value {
  if (value === undefined) return values[0];
  if (!values.includes(value as Value)) {
    const list = values.map((known) => `'${known}'`).join(' or ');
    throw invalidArgument(`${name} must be ${list}, not ${describe(value)}`);
  }
  return value as Value;
}

/** A value in an error message, cut to a readable length. */
export function describe(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.slice(0, 100));
  if (typeof value === 'object' && value !== null)
    return Array.isArray(value) ? 'an array' : 'an object';
  if (typeof value === 'function') return 'a function';
  return String(value);
}
