// Makes `dist/bundle.js` of the compiled JavaScript face; see `ts/entries.ts`. The compiled files
// stay beside it for the tests of single modules, and are not published.
import { join } from 'node:path';
import { buildSync } from 'esbuild';
import { root } from './tools.mjs';

buildSync({
  entryPoints: [join(root, 'dist', 'entries.js')],
  outfile: join(root, 'dist', 'bundle.js'),
  bundle: true,
  platform: 'node',
  target: 'node20',
  // The service's own, which has to be the copy that its `require` gives.
  external: ['zod'],
  // Comments and indentation are a third of it, and take a tenth of the time that loading takes.
  // Names and short lines stay, for whoever reads a stack trace.
  minifyWhitespace: true,
  lineLimit: 120,
  logLevel: 'warning',
});
