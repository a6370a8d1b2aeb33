// Message validation on JavaScript values.
//
// The rules come from the table of the Rust core (`src/validate/rules.rs`); nothing here repeats one.
// From the table this module makes real zod schemas, with the zod that it is given, and a fast
// check that accepts what is valid beyond doubt. Whatever the fast check does not accept goes to
// zod, whose verdict, error class and words stand.
//
// This module never loads zod. `require('zod')` and `import 'zod'` can be two copies with two
// `ZodError` classes, so each entry point passes in the one that its callers get.

import type { z } from 'zod';
import type { DTOSchemas } from './dto.js';

/** What is needed of the caller's zod, 3.23 or later, or 4. */
export type Zod = Pick<typeof z, 'any' | 'array' | 'boolean' | 'number' | 'object' | 'string'>;

/** What a value may be, as `Kind` in the Rust core. */
export type Rule =
  | { readonly kind: 'any' }
  | { readonly kind: 'boolean' }
  | { readonly kind: 'string'; readonly nonEmpty: boolean }
  | {
      readonly kind: 'number';
      readonly integer: boolean;
      readonly bound: 'any' | 'nonnegative' | 'positive';
    }
  | { readonly kind: 'array'; readonly items: Rule }
  | { readonly kind: 'object'; readonly schema: string };

/** One key of an object, what may stand under it, whether it may be missing, whether `null`. */
export type FieldRule = Rule & {
  readonly key: string;
  readonly optional?: boolean;
  readonly nullable?: boolean;
};

/** The fields of every schema by name: the parsed text of the core's `rules_json()`. */
export type RuleTable = Readonly<Record<string, readonly FieldRule[]>>;

/**
 * What the caller's zod makes of numbers on which its major versions differ: the `Dialect` that
 * the core needs to give the same verdicts on raw JSON.
 */
export interface Dialect {
  /** Whether `Infinity`, which `JSON.parse` makes of `1e999`, is a number. */
  readonly infinityIsNumber: boolean;
  /** Whether an integer has to be within ±(2^53 − 1). */
  readonly safeIntegers: boolean;
}

/** A schema with its two ways to use it. */
export interface Validator<Schema extends z.ZodType> {
  /** A real zod schema of the caller's zod. */
  readonly schema: Schema;
  /**
   * Returns the value with unknown keys stripped.
   *
   * @throws the caller's `ZodError` when a rule is broken.
   */
  readonly validate: (data: unknown) => z.infer<Schema>;
  /** As the schema's own `safeParse`: the value or the error, never thrown. */
  readonly safeValidate: (data: unknown) => ReturnType<Schema['safeParse']>;
}

type Validators = { readonly [Name in keyof DTOSchemas]: Validator<DTOSchemas[Name]> };

/**
 * For each kind of data its schema, a function that returns the value without unknown keys or
 * throws the caller's `ZodError`, and one that returns what the schema's `safeParse` returns.
 */
type DTOValidation = {
  readonly [Name in keyof DTOSchemas as `${Name}DTOSchema`]: DTOSchemas[Name];
} & {
  readonly [Name in keyof DTOSchemas as `validate${Name}DTO`]: Validators[Name]['validate'];
} & {
  readonly [Name in keyof DTOSchemas as `safeValidate${Name}DTO`]: Validators[Name]['safeValidate'];
};

/** What {@link createValidation} returns; the entry points export its members. */
export interface Validation extends DTOValidation {
  /** The zod schema of a queue message. */
  readonly QueueMessageSchema: DTOSchemas['QueueMessage'];
  /** Returns the queue message without unknown keys, or throws the caller's `ZodError`. */
  readonly validateQueueMessage: Validators['QueueMessage']['validate'];
  /** Returns what the schema's `safeParse` returns. */
  readonly safeValidateQueueMessage: Validators['QueueMessage']['safeValidate'];
}

/** Makes the validation functions for one zod. */
export function createValidation(z: Zod, rules: RuleTable): Validation {
  const schemas = new Schemas(z, rules);
  const validation: Record<string, unknown> = {};
  for (const name of Object.keys(rules)) {
    const { schema, validate, safeValidate } = createValidator(schemas, name);
    validation[`${name}DTOSchema`] = schema;
    validation[`validate${name}DTO`] = validate;
    validation[`safeValidate${name}DTO`] = safeValidate;
  }
  // The documented names, from before there were other data than queue messages.
  validation.QueueMessageSchema = validation.QueueMessageDTOSchema;
  validation.validateQueueMessage = validation.validateQueueMessageDTO;
  validation.safeValidateQueueMessage = validation.safeValidateQueueMessageDTO;
  return validation as unknown as Validation;
}

/** Makes the schema of one name, and its functions. */
export function createValidator<Schema extends z.ZodType>(
  schemas: Schemas,
  name: string,
): Validator<Schema> {
  const rule: Rule = { kind: 'object', schema: name };
  // The caller states the type of the schema that the table describes; the type tests hold it to
  // that.
  const schema = schemas.of(rule) as unknown as Schema;
  const check = checkOf(schemas.rules, rule);

  const accepted = (data: unknown): unknown => {
    try {
      return check(data);
    } catch {
      // A getter or a proxy threw. zod will meet the same, in its own order of reading.
      return UNSURE;
    }
  };

  return {
    schema,
    validate: (data) => {
      const output = accepted(data);
      return (output === UNSURE ? schema.parse(data) : output) as z.infer<Schema>;
    },
    safeValidate: (data) => {
      const output = accepted(data);
      return (
        output === UNSURE ? schema.safeParse(data) : { success: true, data: output }
      ) as ReturnType<Schema['safeParse']>;
    },
  };
}

/** Asks a zod how it treats the numbers on which the major versions differ. */
export function dialectOf(z: Zod): Dialect {
  return {
    infinityIsNumber: z.number().safeParse(Number.POSITIVE_INFINITY).success,
    safeIntegers: !z
      .number()
      .int()
      .safeParse(2 ** 53).success,
  };
}

/**
 * The schemas of a rule table, made with one zod. Fields with the same rule share their schema,
 * because all are made when the package is loaded: a candle has thirty fields of eight rules. The
 * sharing changes nothing, as schemas are immutable.
 */
export class Schemas {
  readonly #made = new Map<string, z.ZodType>();

  constructor(
    readonly zod: Zod,
    readonly rules: RuleTable,
  ) {}

  of(rule: Rule & Partial<FieldRule>): z.ZodType {
    const key = JSON.stringify({ ...rule, key: undefined });
    let schema = this.#made.get(key);
    if (schema === undefined) {
      schema = this.#make(rule);
      if (rule.nullable) schema = schema.nullable();
      // Also for `any`: zod 3 and zod 4.0 to 4.3 let an `any` be missing, later ones do not.
      if (rule.optional) schema = schema.optional();
      this.#made.set(key, schema);
    }
    return schema;
  }

  #make(rule: Rule): z.ZodType {
    const z = this.zod;
    switch (rule.kind) {
      case 'any':
        return z.any();
      case 'boolean':
        return z.boolean();
      case 'string':
        return rule.nonEmpty ? z.string().min(1) : z.string();
      case 'number': {
        const number = rule.integer ? z.number().int() : z.number();
        if (rule.bound === 'any') return number;
        return rule.bound === 'positive' ? number.positive() : number.nonnegative();
      }
      case 'array':
        return z.array(this.of(rule.items));
      case 'object': {
        const fields = fieldsOf(this.rules, rule.schema);
        return z.object(Object.fromEntries(fields.map((field) => [field.key, this.of(field)])));
      }
    }
  }
}

/** What a fast check returns for a value that zod has to judge. */
const UNSURE = Symbol('unsure');

/** Returns what zod would make of a value that every zod accepts, else {@link UNSURE}. */
type Check = (value: unknown) => unknown;

function checkOf(rules: RuleTable, rule: Rule): Check {
  switch (rule.kind) {
    case 'any':
      return (value) => value;
    case 'boolean':
      return (value) => (typeof value === 'boolean' ? value : UNSURE);
    case 'string': {
      const { nonEmpty } = rule;
      return (value) => (typeof value === 'string' && !(nonEmpty && value === '') ? value : UNSURE);
    }
    case 'number':
      return numberCheck(rule.integer, rule.bound);
    case 'array':
      return arrayCheck(checkOf(rules, rule.items));
    case 'object': {
      const fields = fieldsOf(rules, rule.schema);
      return objectCheck(fields.map((field) => ({ ...field, check: checkOf(rules, field) })));
    }
  }
}

function numberCheck(integer: boolean, bound: (Rule & { kind: 'number' })['bound']): Check {
  // Infinities and unsafe integers are valid under one zod and not under the other.
  const isSure = integer ? Number.isSafeInteger : Number.isFinite;
  switch (bound) {
    case 'any':
      return (value) => (isSure(value) ? value : UNSURE);
    case 'nonnegative':
      return (value) => (isSure(value) && (value as number) >= 0 ? value : UNSURE);
    case 'positive':
      return (value) => (isSure(value) && (value as number) > 0 ? value : UNSURE);
  }
}

function arrayCheck(check: Check): Check {
  return (value) => {
    // A subclass may iterate otherwise than by index.
    if (!Array.isArray(value) || Object.getPrototypeOf(value) !== Array.prototype) return UNSURE;
    const output: unknown[] = [];
    for (let index = 0; index < value.length; index += 1) {
      const element = check(value[index]);
      if (element === UNSURE) return UNSURE;
      output.push(element);
    }
    return output;
  };
}

function objectCheck(fields: readonly (FieldRule & { readonly check: Check })[]): Check {
  return (value) => {
    // Plain objects of this realm only. zod 3 refuses maps, dates and the like, zod 4 does not;
    // a test runner's realm has another `Object.prototype`, which zod handles more slowly.
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return UNSURE;
    const prototype: unknown = Object.getPrototypeOf(value);
    if (prototype !== Object.prototype && prototype !== null) return UNSURE;
    // zod 3 takes an object with `then` and `catch` for a promise.
    if ('then' in value) return UNSURE;

    const output: Record<string, unknown> = {};
    for (const { key, check, optional, nullable } of fields) {
      const input = (value as Record<string, unknown>)[key];
      if (input === undefined && optional) {
        // A key that is there stays, one that is not is not made.
        if (key in value) output[key] = undefined;
      } else if (input === null && nullable) {
        output[key] = null;
      } else {
        const field = check(input);
        if (field === UNSURE) return UNSURE;
        output[key] = field;
      }
    }
    return output;
  };
}

function fieldsOf(rules: RuleTable, name: string): readonly FieldRule[] {
  const fields = rules[name];
  if (fields === undefined) throw new TypeError(`The rule table has no schema ${name}`);
  return fields;
}
