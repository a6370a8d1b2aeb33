// The schemas and functions of the services' data give the verdict, the output and the issues that
// zod gives with schemas written by hand, under both major versions of zod.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { describe, it } from 'node:test';
import * as zodEsm from 'zod';
import { rules } from '../dist/rules.js';
import { createValidation } from '../dist/validation.js';
import * as esm from '../index.mjs';
import { dtoExamples, dtosByHand } from './support/dtos.mjs';
import { assertSameAsZod, generator, issuesOf, oddities, zods } from './support/zod.mjs';

const require = createRequire(import.meta.url);
const cjs = require('../index.js');
const names = Object.keys(dtoExamples);

const validatorOf = (validation, name) => ({
  schema: validation[`${name}DTOSchema`],
  validate: validation[`validate${name}DTO`],
  safeValidate: validation[`safeValidate${name}DTO`],
});

/** A value like the example, with each part of it wrong at a chance. */
function vary(random, example, rate) {
  const { chance, pick } = random;
  if (chance(rate)) return pick(oddities);
  if (Array.isArray(example)) {
    const length = pick([0, 1, example.length, 2 * example.length]);
    return Array.from({ length }, (_, at) => vary(random, example[at % example.length], rate));
  }
  if (typeof example !== 'object' || example === null) return example;
  const keys = Object.keys(example);
  if (chance(0.2)) keys.reverse();
  if (chance(0.3)) keys.splice(pick([0, 1, keys.length]), 0, 'unknown', '__proto__');
  const value = {};
  for (const key of keys) {
    if (chance(rate)) continue;
    const known = Object.hasOwn(example, key);
    // Defined, because an assignment to `__proto__` would set the prototype.
    Object.defineProperty(value, key, {
      value: known ? vary(random, example[key], rate) : pick(oddities),
      configurable: true,
      enumerable: true,
      writable: true,
    });
  }
  return value;
}

for (const { name: zodName, major, z } of zods) {
  describe(`the data of the services with ${zodName}`, () => {
    const validation = createValidation(z, rules);
    const byHand = dtosByHand(z);

    for (const name of names) {
      const validator = validatorOf(validation, name);
      const example = dtoExamples[name];

      it(`judges ${name} with one field missing, odd or wrong as zod does`, () => {
        assertSameAsZod(validator, byHand[name], example);
        for (const key of Object.keys(example)) {
          const { [key]: _, ...without } = example;
          assertSameAsZod(validator, byHand[name], without);
          for (const oddity of oddities) {
            assertSameAsZod(validator, byHand[name], { ...example, [key]: oddity });
          }
        }
      });

      it(`judges ${name} at random as zod does`, () => {
        const random = generator(names.indexOf(name));
        // So that about half of the values are valid, however many parts they have.
        const rate = 0.6 / JSON.stringify(example).split(':').length;
        let valid = 0;
        for (let round = 0; round < 400; round += 1) {
          const value = vary(random, example, rate);
          assertSameAsZod(validator, byHand[name], value);
          valid += byHand[name].safeParse(value).success;
        }
        assert.ok(valid > 80 && valid < 370, `${valid} of 400 valid: the generator is lopsided`);
      });
    }

    it('knows no other data than the contract', () => {
      assert.deepEqual(Object.keys(rules).sort(), names.toSorted());
    });

    it('keeps what the original stripped, and strips unknown keys at every depth', () => {
      const candle = { ...dtoExamples.FootprintCandle, bm: 5, ebs: 0.5 };
      const noisy = { ...candle, y: 1, aggs: [{ ...candle.aggs[0], y: 1 }] };
      const group = { ...dtoExamples.CandleGroup, data: [noisy], y: 1 };
      const [clean] = validation.validateCandleGroupDTO(group).data;
      assert.deepEqual(clean, { ...candle, aggs: [candle.aggs[0]] });
    });

    it("fails with the caller's ZodError and zod's words", () => {
      const result = validation.safeValidateGapRecordInputDTO({
        ...dtoExamples.GapRecordInput,
        symbol: '',
        gapSize: 0,
        fromTradeId: 0.5,
      });
      assert.ok(result.error instanceof z.ZodError);
      const messages = issuesOf(result.error).map(({ message }) => message);
      const expected = {
        zod3: [
          'String must contain at least 1 character(s)',
          'Expected integer, received float',
          'Number must be greater than 0',
        ],
        zod4: [
          'Too small: expected string to have >=1 characters',
          'Invalid input: expected int, received number',
          'Too small: expected number to be >0',
        ],
      };
      assert.deepEqual(messages, expected[major]);
      assert.throws(
        () => validation.validateStateEntryDTO({ exchange: 'binance' }),
        (error) => error instanceof z.ZodError && error.issues.length === 2,
      );
      if (major === 'zod3') assert.equal(result.error.errors[0].message, messages[0]);
    });

    it("makes schemas that stand within the caller's own", () => {
      const { GapRecordInput, GapRecord, CandleGroup } = dtoExamples;
      const payload = z.object({
        action: z.literal('gap_save_batch'),
        gaps: z.array(validation.GapRecordInputDTOSchema).min(1),
        last: validation.GapRecordDTOSchema.partial().optional(),
        candles: validation.CandleGroupDTOSchema.omit({ event: true }).nullable(),
      });
      const { event: _, ...candles } = CandleGroup;
      const value = { action: 'gap_save_batch', gaps: [GapRecordInput], last: {}, candles };
      assert.deepEqual(payload.parse({ ...value, gaps: [GapRecord] }), value);
      const refused = { ...value, gaps: [GapRecordInput, { ...GapRecordInput, symbol: 1 }] };
      assert.deepEqual(payload.safeParse(refused).error.issues[0].path, ['gaps', 1, 'symbol']);
      const either = z.union([validation.GapRecordDTOSchema, validation.StateEntryDTOSchema]);
      assert.deepEqual(either.parse(dtoExamples.StateEntry), dtoExamples.StateEntry);
      const { shape } = validation.CandleGroupDTOSchema;
      assert.equal(shape.data.element, validation.FootprintCandleDTOSchema);
      assert.ok(validation.FootprintCandleDTOSchema instanceof z.ZodObject);
    });

    it('accepts ordinary data without asking zod', () => {
      const fresh = createValidation(z, rules);
      const refuse = () => assert.fail('zod was asked');
      for (const name of names) {
        const { schema, validate, safeValidate } = validatorOf(fresh, name);
        Object.defineProperty(schema, 'parse', { value: refuse });
        Object.defineProperty(schema, 'safeParse', { value: refuse });
        validate(dtoExamples[name]);
        safeValidate(dtoExamples[name]);
      }
    });
  });
}

describe('the exports', () => {
  const features = ['hybrid', 'runtime-database', 'sqlite-queue', 'unix-socket'];
  for (const folder of ['.', ...features.map((name) => `./features/${name}`)]) {
    it(`of ${folder} are the same for callers of require and import`, async () => {
      const cjs = require(`../${folder}/index.js`);
      const esm = await import(`../${folder}/index.mjs`);
      assert.deepEqual(Object.keys(esm).sort(), Object.keys(cjs).sort());
      // An ES module that imports the file by its path sees no less, but for the validation, which
      // would load zod.
      const byPath = await import(`../${folder}/index.js`);
      const own = Object.keys(esm).filter((name) => !/Schema$|^(safeV|v)alidate/.test(name));
      assert.deepEqual(
        Object.keys(byPath)
          .filter((name) => name !== 'default' && name !== 'module.exports')
          .sort(),
        own.sort(),
      );
    });
  }

  it('hold a schema and two functions for each kind of data, by the zod of the entry', () => {
    for (const [entry, z] of [
      [cjs, require('zod')],
      [esm, zodEsm],
    ]) {
      for (const name of names) {
        const { schema, validate, safeValidate } = validatorOf(entry, name);
        assert.ok(schema instanceof z.ZodObject);
        assert.deepEqual(validate({ ...dtoExamples[name], unknown: 1 }), dtoExamples[name]);
        assert.throws(() => validate(null), z.ZodError);
        assert.ok(safeValidate(undefined).error instanceof z.ZodError);
      }
      assert.equal(entry.QueueMessageSchema, entry.QueueMessageDTOSchema);
      assert.equal(entry.validateQueueMessage, entry.validateQueueMessageDTO);
      assert.equal(entry.safeValidateQueueMessage, entry.safeValidateQueueMessageDTO);
    }
  });
});
