// `npm start`: installs and builds what is missing, and runs the demonstration.
import { optionsOrUsage } from '../examples/demo/options.mjs';
import { build, install } from './tools.mjs';

const options = optionsOrUsage(process.argv.slice(2));
if (options) {
  install();
  build();
  const { main } = await import('../examples/demo/demo.mjs');
  await main(options);
}
