// `npm run bench`: installs and builds what is missing, measures, prints one table, and writes the
// results and their picture to `bench/results`. `npm run bench -- --help` lists the options.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { build, install } from '../scripts/tools.mjs';
import { chart } from './lib/chart.mjs';
import { diskFolder, machine, version } from './lib/machine.mjs';
import { installPeers, unavailable } from './lib/peers.mjs';
import { runCase } from './lib/runner.mjs';
import { table, verdict } from './lib/table.mjs';
import { scenarios } from './scenarios/index.mjs';

const HELP = `npm run bench [-- OPTIONS]

Measures the package beside the same work written plainly on node:net, better-sqlite3 and zod,
beside node-ipc, zeromq and plainjob, and beside what the machine can do at best. The first run
installs those into bench/node_modules and compiles better-sqlite3.

  --quick          about two minutes: fewer rounds, no long curves
  --only NAME,…    only these scenarios: ${scenarios.map(({ name }) => name).join(', ')}
  --rows N         rows of the longest backlog; default 10000000, with --quick 100000
  --rounds N       paired rounds of each case; default 9, with --quick 3
  --dir FOLDER     where databases are written; it has to be on a disk
  --no-build       what is built already
  --help           this text`;

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string' },
    rows: { type: 'string' },
    rounds: { type: 'string' },
    dir: { type: 'string' },
    'no-build': { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

if (options.help) {
  console.log(HELP);
  process.exit(0);
}

const quick = options.quick;
const rounds = Number(options.rounds ?? (quick ? 3 : 9));
const rows = Number(options.rows ?? (quick ? 100_000 : 10_000_000));
const wanted = options.only?.split(',');
const unknown = wanted?.filter((name) => !scenarios.some((scenario) => scenario.name === name));
if (unknown?.length > 0 || !(rounds >= 1) || !(rows >= 1000)) {
  console.error(HELP);
  process.exit(2);
}

if (!options['no-build']) {
  install();
  build();
}
installPeers();

for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));

const started = Date.now();
const dataFolder = diskFolder(options.dir);
const results = [];
for (const scenario of scenarios) {
  if (wanted === undefined ? quick && scenario.long : !wanted.includes(scenario.name)) continue;
  for (const testCase of scenario.cases({ quick, rows })) {
    const begun = Date.now();
    process.stderr.write(`${scenario.name} ${testCase.label} …`);
    results.push(await runCase(scenario, testCase, { dataFolder, rounds, unavailable }));
    process.stderr.write(` ${((Date.now() - begun) / 1000).toFixed(1)} s\n`);
  }
}

const where = machine();
console.log(`\n${table(results)}`);
console.log(`${where.cpu}, ${where.cores} cores, Node ${where.node}, ${where.date}`);
console.log(verdict(results));

if (wanted === undefined) {
  const folder = fileURLToPath(new URL('./results/', import.meta.url));
  const name = `node-${process.versions.node.split('.')[0]}${quick ? '-quick' : ''}`;
  const all = { package: version(), machine: where, quick, rounds, seconds: seconds(), results };
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, `${name}.json`), `${JSON.stringify(all, null, 2)}\n`);
  writeFileSync(join(folder, `${name}.svg`), chart(all));
  console.log(`Written to bench/results/${name}.json and .svg.`);
}
console.log(`Took ${seconds()} s.`);
if (results.some(({ failed }) => failed)) process.exit(1);

function seconds() {
  return Math.round((Date.now() - started) / 1000);
}
