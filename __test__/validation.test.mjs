// Verdicts, outputs and issues of the validation equal those of zod schemas that are written out
// here by hand, on tables of edge cases and on random values, under both major versions of zod.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import vm from 'node:vm';
import { createValidation, createValidator, dialectOf, Schemas } from '../dist/validation.js';
import { dtoExamples, dtosByHand } from './support/dtos.mjs';
import {
  assertSameAsZod,
  corpusVerdict,
  generator,
  jsonScalars,
  jsonTexts,
  notJson,
  oddities,
  zods,
} from './support/zod.mjs';

const fixture = (name) => fileURLToPath(new URL(`./fixtures/${name}`, import.meta.url));
const readFixture = (name) => JSON.parse(readFileSync(fixture(name), 'utf8'));

// The core's tests hold both tables to what the core writes.
const rules = readFixture('rules.json');
const sampleRules = readFixture('rules-sample.json');

const orderByHand = (z) =>
  z.object({
    id: z.string().min(1),
    label: z.string(),
    paid: z.boolean(),
    balance: z.number(),
    offset: z.number().int(),
    sequence: z.number().int().nonnegative(),
    shippedAt: z.number().int().positive().nullable(),
    updatedAt: z.number().int().positive().optional(),
    lines: z.array(
      z.object({ quantity: z.number().nonnegative(), price: z.number().positive().optional() }),
    ),
    tags: z.array(z.string().min(1)),
    extra: z.any().optional(),
  });

const validatorOf = (validation) => ({
  schema: validation.QueueMessageSchema,
  validate: validation.validateQueueMessage,
  safeValidate: validation.safeValidateQueueMessage,
});

const good = Object.freeze({ id: 'a', type: 'b', payload: { c: [1] }, timestamp: 5 });

class Message {
  constructor() {
    Object.assign(this, good);
  }
}
class MessageOfGetters {
  get id() {
    return 'a';
  }
  get type() {
    return 'b';
  }
  get timestamp() {
    return 5;
  }
}

const cases = {
  'a message': () => ({ ...good }),
  'another order of keys': () => ({ timestamp: 5, payload: 1, type: 'b', id: 'a' }),
  'no payload': () => ({ id: 'a', type: 'b', timestamp: 5 }),
  'an undefined payload': () => ({ ...good, payload: undefined }),
  'a null payload': () => ({ ...good, payload: null }),
  'a promise as payload': () => ({ ...good, payload: Promise.resolve(1) }),
  'unknown keys': () => ({ ...good, extra: 1, [Symbol('key')]: 1 }),
  'an own __proto__': () =>
    JSON.parse(
      '{"__proto__":{"id":"x"},"id":"a","type":"b","payload":{"__proto__":1},"timestamp":5}',
    ),
  'only an own __proto__': () => JSON.parse('{"__proto__":{"id":"a","type":"b","timestamp":5}}'),
  'no prototype': () => Object.assign(Object.create(null), good),
  'inherited fields': () => Object.create(good),
  'an inherited payload': () =>
    Object.assign(Object.create({ payload: 7 }), { id: 'a', type: 'b', timestamp: 5 }),
  'a class instance': () => new Message(),
  'getters of a class': () => new MessageOfGetters(),
  'an own getter': () => ({
    ...good,
    get id() {
      return 'g';
    },
  }),
  'hidden fields': () =>
    Object.defineProperty({ ...good }, 'id', { value: 'h', enumerable: false }),
  'a proxy': () => new Proxy({ ...good }, {}),
  'an array': () => Object.assign([], good),
  'an array without its prototype': () => Object.setPrototypeOf(Object.assign([], good), null),
  'a map': () => Object.assign(new Map(), good),
  'a set': () => Object.assign(new Set(), good),
  'a date': () => Object.assign(new Date(0), good),
  'a promise': () => Object.assign(Promise.resolve(), good),
  'an error': () => Object.assign(new Error('x'), good),
  'a function': () => Object.assign(() => {}, good),
  'a boxed string': () => Object.assign(new String('a'), good),
  // biome-ignore lint/suspicious/noThenProperty: zod 3 looks for it.
  'half a thenable': () => Object.assign({ ...good }, { then() {} }),
  // biome-ignore lint/suspicious/noThenProperty: zod 3 looks for it.
  'a thenable': () => Object.assign({ ...good }, { then() {}, catch() {} }),
  'a message of another realm': () =>
    vm.runInNewContext('({ id: "a", type: "b", payload: 1, timestamp: 5 })'),
  'a map of another realm': () =>
    vm.runInNewContext('Object.assign(new Map(), { id: "a", type: "b", timestamp: 5 })'),
  'a boxed id': () => ({ ...good, id: new String('a') }),
  'an empty id': () => ({ ...good, id: '' }),
  'a lone surrogate': () => ({ ...good, id: '\ud800' }),
  'a numeric id': () => ({ ...good, id: 1 }),
  'an empty type': () => ({ ...good, type: '' }),
  'a null type': () => ({ ...good, type: null }),
  Infinity: () => ({ ...good, timestamp: Infinity }),
  '-Infinity': () => ({ ...good, timestamp: -Infinity }),
  NaN: () => ({ ...good, timestamp: NaN }),
  zero: () => ({ ...good, timestamp: 0 }),
  'negative zero': () => ({ ...good, timestamp: -0 }),
  'the least number': () => ({ ...good, timestamp: 5e-324 }),
  'the greatest number': () => ({ ...good, timestamp: Number.MAX_VALUE }),
  'a BigInt': () => ({ ...good, timestamp: 1n }),
  'a boxed number': () => ({ ...good, timestamp: new Number(1) }),
  'a date as timestamp': () => ({ ...good, timestamp: new Date() }),
  'an empty object': () => ({}),
  'everything wrong': () => ({ id: 1, type: [], timestamp: 'now' }),
  null: () => null,
  undefined: () => undefined,
  'a string': () => 'x',
  'a number': () => 1,
  'a symbol': () => Symbol('x'),
  true: () => true,
};

function randomQueueMessage({ chance, pick }) {
  const value = {};
  const fields = [
    ['id', 'm-1'],
    ['type', 'candle'],
    ['payload', { a: 1 }],
    ['timestamp', 17e11],
  ];
  if (chance(0.3)) fields.reverse();
  if (chance(0.3)) fields.splice(2, 0, ['extra', pick(oddities)]);
  for (const [key, usual] of fields) {
    if (chance(0.9)) value[key] = chance(0.85) ? usual : pick(oddities);
  }
  return chance(0.1) ? Object.assign(pick([new Message(), Object.create(null), []]), value) : value;
}

function randomOrder({ chance, pick }) {
  const strange = (usual) => (chance(0.95) ? usual : pick(oddities));
  const line = () => {
    const value = { quantity: strange(pick([0, 0.5, 3])), extra: 1 };
    if (chance(0.5)) value.price = strange(pick([undefined, 0.25]));
    return value;
  };
  const several = (make) => Array.from({ length: pick([0, 1, 3]) }, make);
  const value = {
    extra: pick([undefined, { a: 1 }]),
    id: strange('o-1'),
    label: strange(''),
    paid: strange(pick([true, false])),
    balance: strange(-0.5),
    offset: strange(-3),
    sequence: strange(-0),
    shippedAt: strange(pick([null, 1])),
    lines: strange(several(() => strange(line()))),
    tags: strange(several(() => strange('😀'))),
  };
  if (chance(0.5)) value.updatedAt = strange(pick([undefined, 1]));
  for (const key of Object.keys(value)) if (chance(0.02)) delete value[key];
  return value;
}

for (const { name, z } of zods) {
  describe(`validation with ${name}`, () => {
    const validation = createValidation(z, rules);
    const queueMessage = validatorOf(validation);
    const order = createValidator(new Schemas(z, sampleRules), 'Order');

    for (const [title, make] of Object.entries(cases)) {
      it(`judges ${title} as zod does`, () => {
        // The value is made once: zod and the validation have to look at the same one.
        assertSameAsZod(queueMessage, dtosByHand(z).QueueMessage, make());
      });
    }

    it('judges random values as zod does', () => {
      const random = generator(1);
      const byHand = { queueMessage: dtosByHand(z).QueueMessage, order: orderByHand(z) };
      let valid = 0;
      for (let round = 0; round < 3000; round += 1) {
        const message = randomQueueMessage(random);
        assertSameAsZod(queueMessage, byHand.queueMessage, message);
        const value = randomOrder(random);
        assertSameAsZod(order, byHand.order, value);
        valid += byHand.queueMessage.safeParse(message).success;
        valid += byHand.order.safeParse(value).success;
      }
      assert.ok(valid > 1000 && valid < 5000, `${valid} of 6000 valid: the generator is lopsided`);
    });

    it('throws what a getter throws, as zod does', () => {
      const failure = new Error('from the getter');
      const value = {
        ...good,
        get type() {
          throw failure;
        },
      };
      assert.throws(() => validation.validateQueueMessage(value), failure);
      assert.throws(() => validation.safeValidateQueueMessage(value), failure);
    });

    it("fails with the caller's ZodError and zod's words", () => {
      assert.throws(
        () => validation.validateQueueMessage({ ...good, id: '' }),
        (error) => {
          assert.ok(error instanceof z.ZodError);
          assert.ok(error instanceof Error);
          assert.match(error.issues[0].message, /at least 1 character|>=1 characters/);
          return true;
        },
      );
      assert.ok(validation.safeValidateQueueMessage(1).error instanceof z.ZodError);
    });

    it('accepts ordinary messages without asking zod', () => {
      const { schema, validate, safeValidate } = validatorOf(createValidation(z, rules));
      const refuse = () => assert.fail('zod was asked');
      Object.defineProperty(schema, 'parse', { value: refuse });
      Object.defineProperty(schema, 'safeParse', { value: refuse });
      for (const message of [good, { id: 'a', type: 'b', timestamp: 1.5, extra: 1 }]) {
        validate(message);
        safeValidate(message);
      }
    });

    it("makes a schema that stands within the caller's own", () => {
      const batch = z.object({ messages: z.array(validation.QueueMessageSchema) });
      assert.deepEqual(batch.parse({ messages: [{ ...good, extra: 1 }] }), { messages: [good] });
      assert.deepEqual(batch.safeParse({ messages: [good, {}] }).error.issues[0].path, [
        'messages',
        1,
        'id',
      ]);
      const named = validation.QueueMessageSchema.extend({ origin: z.string() });
      assert.equal(named.safeParse(good).success, false);
      assert.equal(named.shape.id.safeParse('').success, false);
    });
  });
}

// Texts for the core, which judges bytes: zod's verdict on `JSON.parse` of each is kept in
// `fixtures/validation-corpus.json`, and the core's tests compare theirs with it. Run this file
// with UPDATE_FIXTURES=1 after a change of the generator or of the rules.
function corpusTexts() {
  const { pick, objectOf, like } = jsonTexts(2);
  const texts = [];
  for (const text of [...jsonScalars, ...notJson]) texts.push(['QueueMessage', text]);
  for (let round = 0; round < 300; round += 1) {
    texts.push([
      'QueueMessage',
      objectOf({ id: '"a"', type: '"b"', payload: pick(jsonScalars), timestamp: '17e11' }),
    ]);
    texts.push([
      'Order',
      objectOf({
        id: '"a"',
        label: '""',
        paid: 'true',
        balance: pick(['-0.5', '1e999']),
        offset: pick(['-3', '9007199254740992']),
        sequence: '0',
        shippedAt: pick(['null', '1']),
        updatedAt: '1',
        lines: pick(['[]', `[${objectOf({ quantity: '0', price: '1' })}]`]),
        tags: pick(['[]', '["ab"]', '["\\ud83d\\ude00"]']),
        extra: pick(jsonScalars),
      }),
    ]);
  }
  for (const [name, example] of Object.entries(dtoExamples)) {
    for (let round = 0; round < 50; round += 1) texts.push([name, like(example)]);
  }
  return texts;
}

describe('the corpus of JSON texts', () => {
  it("holds zod's verdicts of today", () => {
    const schemas = Object.fromEntries(
      ['zod3', 'zod4'].map((major) => {
        const { z } = zods.find((each) => each.major === major);
        return [major, { ...dtosByHand(z), Order: orderByHand(z) }];
      }),
    );
    const corpus = corpusTexts().map(([schema, json]) => ({
      schema,
      json,
      zod3: corpusVerdict(schemas.zod3[schema], json),
      zod4: corpusVerdict(schemas.zod4[schema], json),
    }));
    if (process.env.UPDATE_FIXTURES) {
      const lines = corpus.map((entry) => JSON.stringify(entry));
      writeFileSync(fixture('validation-corpus.json'), `[\n${lines.join(',\n')}\n]\n`);
    }
    assert.deepEqual(corpus, readFixture('validation-corpus.json'));
  });

  it('knows what each zod makes of the numbers on which they differ', () => {
    const dialects = zods.map(({ z }) => dialectOf(z));
    const zod3 = { infinityIsNumber: true, safeIntegers: false };
    const zod4 = { infinityIsNumber: false, safeIntegers: true };
    assert.deepEqual(dialects, [zod3, zod3, zod4, zod4]);
  });
});

describe('the types', () => {
  for (const major of ['zod3', 'zod4']) {
    it(`compile with those of ${major}`, () => {
      const tsc = fileURLToPath(new URL('../node_modules/typescript/bin/tsc', import.meta.url));
      const project = fileURLToPath(new URL(`./types/tsconfig.${major}.json`, import.meta.url));
      try {
        execFileSync(process.execPath, [tsc, '-p', project], { encoding: 'utf8' });
      } catch (error) {
        assert.fail(error.stdout);
      }
    });
  }
});
