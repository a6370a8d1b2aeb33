// Runs a case of a scenario: all subjects in turn, round after round (A B A B …), and compares
// them with ours.
//
// A scenario is a module with
//   scenario   { name, title, file, cases(mode), children(params), round(actors, params) }
//   roles      { role: async (context) => methods }, which run in the child processes
// `cases` returns { label, params, subjects, targets, rounds? }; a subject is a name, or
// { name, use?, params? } where a name stands for a subject with other parameters. `round`
// returns the value of each metric.
import { isMet, METRICS } from './metrics.mjs';
import { Rig } from './rig.mjs';
import { ratio, summary } from './stats.mjs';

/** A case's results: the summary of every metric of each subject, comparisons, and notes. */
export async function runCase(scenario, testCase, { dataFolder, rounds, unavailable, only }) {
  const subjects = testCase.subjects
    .map((subject) => (typeof subject === 'string' ? { name: subject } : subject))
    .map(({ name, use = name, params = {} }) => ({ name, use, params }));
  const notes = [];
  const runs = [];
  for (const { name, use, params } of subjects) {
    const why = unavailable(use);
    if (why !== undefined) {
      notes.push(`${name}: ${why}`);
      continue;
    }
    if (only !== undefined && !only.includes(use)) continue;
    runs.push({ name, use, params: { ...testCase.params, ...params }, rounds: {} });
  }
  // Without the subject that a case is about there is nothing to compare.
  if (find(runs, testCase.subject ?? 'ours') === undefined) runs.length = 0;
  try {
    for (const run of runs) {
      await attempt(run, notes, async () => {
        run.rig = await Rig.open(scenario, run.use, run.params, dataFolder);
        // The warm-up is a round like any other.
        await scenario.round(run.rig.actors, run.params);
      });
    }
    for (let round = 0; round < (testCase.rounds ?? rounds); round++) {
      for (const run of runs) {
        if (run.failed) continue;
        await attempt(run, notes, async () => {
          const values = await scenario.round(run.rig.actors, run.params);
          for (const [metric, value] of Object.entries(values)) {
            run.rounds[metric] ??= [];
            run.rounds[metric].push(value);
          }
        });
      }
    }
    for (const run of runs) if (!run.failed) run.rounds.memory = [run.rig.memory];
  } finally {
    for (const run of runs) await run.rig?.close();
  }
  return report(scenario, testCase, runs, notes);
}

/** A subject that fails is left out; the others go on. */
async function attempt(run, notes, work) {
  try {
    await work();
  } catch (error) {
    run.failed = true;
    notes.push(`${run.name} failed: ${error.message.split('\n').slice(0, 3).join(' ')}`);
  }
}

function report(scenario, testCase, runs, notes) {
  const sound = runs.filter((run) => !run.failed);
  const subjects = Object.fromEntries(
    sound.map(({ name, rounds }) => [
      name,
      Object.fromEntries(
        Object.entries(rounds).map(([metric, values]) => [metric, summary(values)]),
      ),
    ]),
  );
  return {
    scenario: scenario.name,
    label: testCase.label,
    title: scenario.title,
    params: testCase.params,
    subjectParams: Object.fromEntries(sound.map(({ name, params }) => [name, params])),
    curve: testCase.curve,
    subjects,
    comparisons: compare(sound, testCase),
    missed: (testCase.targets ?? [])
      .filter((target) => !decidable(sound, target, testCase.subject))
      .map(({ metric, against }) => ({ metric, against })),
    failed: runs.some((run) => run.failed && run.use === 'ours'),
    notes,
  };
}

const find = (runs, name) => runs.find((run) => run.name === name);

/** The subject that a target is about: the target's own, the case's, or `ours`. */
const ownOf = (target, subject) => target.of ?? subject ?? 'ours';

function decidable(runs, target, subject) {
  const ours = find(runs, ownOf(target, subject));
  return (
    ours?.rounds[target.metric] !== undefined &&
    (target.against === undefined ||
      find(runs, target.against)?.rounds[target.metric] !== undefined)
  );
}

/**
 * First the targets, then every other subject by the metrics that it shares with ours. Forms of
 * ours are compared with each other where they make a curve.
 */
function compare(runs, { targets = [], subject, curve }) {
  const rows = [];
  const seen = new Set();
  for (const target of targets) {
    if (!decidable(runs, target, subject)) continue;
    const { metric, against } = target;
    const of = ownOf(target, subject);
    const ours = find(runs, of).rounds[metric];
    const found =
      against === undefined ? summary(ours) : ratio(ours, find(runs, against).rounds[metric]);
    seen.add(`${of} ${metric} ${against}`);
    rows.push({ of, metric, against, ratio: found, target, met: isMet(target, found.median) });
  }
  const of = subject ?? 'ours';
  const own = find(runs, of);
  for (const other of own === undefined ? [] : runs) {
    if (other === own || (other.use === own.use && curve === undefined)) continue;
    for (const [metric, values] of Object.entries(own.rounds)) {
      if (metric === 'memory' || (METRICS[metric]?.part && other.name !== 'plain')) continue;
      const theirs = other.rounds[metric];
      if (theirs === undefined || seen.has(`${of} ${metric} ${other.name}`)) continue;
      rows.push({ of, metric, against: other.name, ratio: ratio(values, theirs) });
    }
  }
  return rows;
}
