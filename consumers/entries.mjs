// Run in a project that has the package and a zod: what `require` and `import` give there.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const ROOT = '@flowtrace/ipc';
const features = ['unix-socket', 'sqlite-queue', 'runtime-database', 'hybrid'];
const entries = [ROOT, ...features.map((feature) => `${ROOT}/features/${feature}`)];
const isClass = (value) => typeof value === 'function' && /^class\b/.test(String(value));

const everything = new Set();
for (const entry of entries) {
  const required = require(entry);
  const imported = await import(entry);
  assert.deepEqual(Object.keys(imported).sort(), Object.keys(required).sort(), entry);
  for (const [name, value] of Object.entries(required)) {
    everything.add(name);
    if (isClass(value)) assert.equal(imported[name], value, `${name} is two classes in ${entry}`);
    assert.equal(require(ROOT)[name], value, `${name} of ${entry} is not the root's`);
    assert.equal((await import(ROOT))[name], imported[name], `${name} of ${entry} (ESM)`);
  }
}
assert.deepEqual(Object.keys(require(ROOT)).sort(), [...everything].sort());
for (const name of ['UnixSocketClient', 'UnixSocketServer', 'SQLiteQueue', 'SQLiteQueuePoller']) {
  assert.ok(isClass(require(ROOT)[name]), name);
}
assert.equal(require(`${ROOT}/package.json`).name, ROOT);

const kinds = [
  ['require', require(ROOT), require('zod')],
  ['import', await import(ROOT), await import('zod')],
];
for (const [kind, ipc, z] of kinds) {
  for (const refused of [
    () => ipc.validateQueueMessage({ id: '' }),
    () => ipc.QueueMessageSchema.parse(null),
    () => z.object({ message: ipc.QueueMessageSchema }).parse({ message: {} }),
    () => {
      throw ipc.safeValidateQueueMessage([]).error;
    },
  ]) {
    assert.throws(refused, (error) => error instanceof z.ZodError && error instanceof z.z.ZodError);
  }
  const message = { id: 'a', type: 't', payload: { kind }, timestamp: 1 };
  assert.deepEqual(ipc.validateQueueMessage({ ...message, extra: 1 }), message);
  assert.deepEqual(z.array(ipc.QueueMessageSchema).parse([message]), [message]);
}
