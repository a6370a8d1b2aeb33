/** The validation for callers of `require`, with the zod that `require` gives them. */
import type * as z from 'zod';
import { rules } from './rules.js';
import { createValidation, type Validation } from './validation.js';

let made: Validation | undefined;

/**
 * Made when somebody first asks for a part of it: loading zod takes longer than loading everything
 * else, and most processes of a service never validate.
 */
export function validation(): Validation {
  made ??= createValidation(require('zod') as typeof z, rules);
  return made;
}

/** Gives `target` those parts of the validation, each made when it is asked for. */
export function addValidation(target: object, names: readonly (keyof Validation)[]): void {
  for (const name of names) {
    Object.defineProperty(target, name, {
      configurable: true,
      enumerable: true,
      get: () => validation()[name],
    });
  }
}
