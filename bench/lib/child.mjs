// A child process of the benchmark: one role of one scenario, for one subject. The parent calls
// the methods of the role, one at a time or several at once.
import { pathToFileURL } from 'node:url';
import { peakMemory } from './clock.mjs';

const { file, role, context } = JSON.parse(process.argv[2]);
const { roles } = await import(pathToFileURL(file));

process.on('message', async ({ call, method, args }) => {
  try {
    const value = await actor[method](...args);
    process.send({ call, value, memory: peakMemory() });
  } catch (error) {
    process.send({ call, error: error?.stack ?? String(error) });
  }
});
process.on('disconnect', () => process.exit());

let actor;
try {
  actor = await roles[role](context);
  process.send({ ready: true });
} catch (error) {
  process.send({ ready: false, error: error?.stack ?? String(error) });
}
