// What loading costs: `require` of the package against `require` of better-sqlite3 and zod, in a
// fresh process each. better-sqlite3 loads its addon only for the first database, so the second
// case opens one on both sides.
import { execFileSync } from 'node:child_process';
import { installation } from '../lib/installation.mjs';
import { atMost } from '../lib/metrics.mjs';
import { sqliteAddon } from '../lib/peers.mjs';

const ZODS = { 'zod 4': 'zod4', 'zod 3': 'zod' };

export const scenario = {
  name: 'load',
  title: 'Loading',
  file: import.meta.url,
  cases: ({ quick }) =>
    Object.keys(ZODS)
      .flatMap((zod) => [
        { zod, open: false, label: `require, ${zod}` },
        { zod, open: true, label: `require and open a file, ${zod}` },
      ])
      .slice(0, quick ? 2 : 4)
      .map(({ label, ...params }) => ({
        label,
        params,
        rounds: quick ? 5 : 21,
        subjects: ['ours', 'plain'],
        targets: [atMost(1, 'load', 'plain')],
      })),
  children: () => ({ starter: 1 }),
  round: ({ starter }) => starter.call('load'),
};

/** Programs that print the milliseconds that loading took. */
const PROGRAMS = {
  ours: (path) => `const { SQLiteQueue } = require('@flowtrace/ipc');
    ${path === undefined ? '' : `new SQLiteQueue({ dbPath: '${path}' }).close();`}`,
  plain: (path) => `const Database = require('better-sqlite3');
    const { z } = require('zod');
    ${path === undefined ? '' : `new Database('${path}', { nativeBinding: '${sqliteAddon}' }).close();`}`,
};

export const roles = {
  starter({ subject, params: { zod, open }, dbPath }) {
    const { folder } = installation(dbPath, ZODS[zod]);
    const program = `const started = performance.now();
      ${PROGRAMS[subject](open ? dbPath : undefined)}
      console.log(performance.now() - started);`;
    return {
      load: () => ({
        load: Number(
          execFileSync(process.execPath, ['-e', program], { cwd: folder, encoding: 'utf8' }),
        ),
      }),
    };
  },
};
