// Message validation on JavaScript values.
//
// The rules come from the table of the Rust core (`src/validate.rs`); nothing here repeats one.
// From the table this module makes real zod schemas, with the zod that it is given, and a fast
// check that accepts what is valid beyond doubt. Whatever the fast check does not accept goes to
// zod, whose verdict, error class and words stand.
//
// This module never loads zod. `require('zod')` and `import 'zod'` can be two copies with two
// `ZodError` classes, so each entry point passes in the one that its callers get.

import type { z } from 'zod';

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

/** A message of the queue. */
export interface QueueMessage {
  /** Not empty, and unique within the queue. */
  id: string;
  /** Not empty. */
  type: string;
  /** Anything that JSON can express; may be missing. */
  // biome-ignore lint/suspicious/noExplicitAny: the type that zod infers, which callers rely on.
  payload?: any;
  /** Milliseconds since 1970, above 0. */
  timestamp: number;
}

/**
 * The zod schema of {@link QueueMessage}: the type that `z.object` has for it in the caller's
 * zod. Spelled as `z.ZodObject<…>`, it would be a looser type under zod 3.
 */
export type QueueMessageSchema = ReturnType<
  typeof z.object<{
    id: z.ZodString;
    type: z.ZodString;
    payload: z.ZodOptional<z.ZodAny>;
    timestamp: z.ZodNumber;
  }>
>;

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

/** What {@link createValidation} returns; the entry points export its members. */
export interface Validation {
  /** The zod schema of a queue message. */
  readonly QueueMessageSchema: QueueMessageSchema;
  /** Returns the queue message without unknown keys, or throws the caller's `ZodError`. */
  readonly validateQueueMessage: Validator<QueueMessageSchema>['validate'];
  /** Returns what the schema's `safeParse` returns. */
  readonly safeValidateQueueMessage: Validator<QueueMessageSchema>['safeValidate'];
  /** What the core needs to know to judge raw JSON as this zod does. */
  readonly dialect: Dialect;
}

/** Makes the validation functions for one zod. */
export function createValidation(z: Zod, rules: RuleTable): Validation {
  const queueMessage = createValidator<QueueMessageSchema>(z, rules, 'QueueMessage');
  return {
    QueueMessageSchema: queueMessage.schema,
    validateQueueMessage: queueMessage.validate,
    safeValidateQueueMessage: queueMessage.safeValidate,
    dialect: dialectOf(z),
  };
}

/** Makes the schema of one name, and its functions, for one zod. */
export function createValidator<Schema extends z.ZodType>(
  z: Zod,
  rules: RuleTable,
  name: string,
): Validator<Schema> {
  const rule: Rule = { kind: 'object', schema: name };
  // The caller states the type of the schema that the table describes; the type tests hold it to
  // that.
  const schema = zodOf(z, rules, rule) as unknown as Schema;
  const check = checkOf(rules, rule);

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

function zodOf(z: Zod, rules: RuleTable, rule: Rule): z.ZodType {
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
      return z.array(zodOf(z, rules, rule.items));
    case 'object': {
      const shape: Record<string, z.ZodType> = {};
      for (const field of fieldsOf(rules, rule.schema)) {
        let schema = zodOf(z, rules, field);
        if (field.nullable) schema = schema.nullable();
        // Also for `any`: zod 3 and zod 4.0 to 4.3 let an `any` be missing, later ones do not.
        if (field.optional) schema = schema.optional();
        shape[field.key] = schema;
      }
      return z.object(shape);
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
