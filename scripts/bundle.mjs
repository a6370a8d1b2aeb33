// Makes `dist/bundle.js` of the JavaScript face; see `ts/entries.ts`. What `tsc` compiles beside it is for
// the tests of single modules, and is not published.
import { join } from 'node:path';
import { buildSync } from 'esbuild';
import { root } from './tools.mjs';

buildSync({
  entryPoints: [join(root, 'ts', 'entries.ts')],
  outfile: join(root, 'dist', 'bundle.js'),
  bundle: true,
  platform: 'node',
  // One scope for all modules: V8 reads a function around each of them twice when it is loaded.
  format: 'cjs',
  target: 'node20',
  // The service's own, which has to be the copy that its `require` gives.
  external: ['zod'],
  // Comments and indentation are a third of it, and take a tenth of the time that loading takes.
  // Names and short lines stay, for whoever reads a stack trace.
  minifyWhitespace: true,
  lineLimit: 120,
  logLevel: 'warning',
});
