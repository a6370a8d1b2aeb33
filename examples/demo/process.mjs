// How the parent and its child processes talk: over the channel that `fork` opens.
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const PROGRESS_INTERVAL_MS = 200;

/**
 * The life of a child process. `prepare(settings)` makes it ready and returns `counts()`, which
 * the parent is told again and again; `begin()`, if there is something to begin when the parent
 * says so; and `end()`, which returns when everything is done.
 */
export function runAsChild(prepare) {
  // A child must not outlive its parent, however that ended.
  process.on('disconnect', () => process.exit());
  // Ctrl-C reaches all processes of the terminal; the parent decides what to do about it.
  process.on('SIGINT', () => {});
  let steps;
  const tell = (type, then) => process.send({ type, counts: steps.counts() }, then);
  process.on('message', async ({ type, settings }) => {
    if (type === 'prepare') {
      steps = await prepare(settings);
      setInterval(tell, PROGRESS_INTERVAL_MS, 'progress');
      tell('ready');
    } else if (type === 'begin') {
      steps.begin();
    } else if (type === 'end') {
      await steps.end();
      tell('ended', () => process.exit());
    }
  });
}

/** A child process, as the parent sees it. */
export class Child {
  #process;
  #ready;
  #ended = false;
  /** Whether it was killed by us, so that its end is no failure. */
  #killed = false;
  /** What it counted, as of its last report. */
  counts;
  /** Resolves when the process is gone, and rejects if it went by itself before its work ended. */
  done;

  constructor(name, file, settings, counts) {
    this.counts = counts;
    this.#process = fork(fileURLToPath(new URL(file, import.meta.url)));
    this.done = new Promise((resolve, reject) => {
      this.#process.on('error', reject);
      this.#process.on('exit', (code, signal) => {
        if (this.#ended || this.#killed) resolve();
        else reject(new Error(`${name} ended too early (${signal ?? `exit code ${code}`})`));
      });
    });
    this.#ready = new Promise((resolve, reject) => {
      this.done.then(resolve, reject);
      this.#process.on('message', ({ type, counts }) => {
        this.counts = counts;
        if (type === 'ready') resolve();
        if (type === 'ended') this.#ended = true;
      });
    });
    // Whoever waits for one of the two promises hears of a failure; nobody has to wait for both.
    this.done.catch(() => {});
    this.#ready.catch(() => {});
    this.#process.send({ type: 'prepare', settings });
  }

  /** Resolves when the child is ready to begin. */
  ready() {
    return this.#ready;
  }

  begin() {
    this.#process.send({ type: 'begin' });
  }

  /** Lets the child finish its work; resolves when it is gone. */
  end() {
    this.#process.send({ type: 'end' });
    return this.done;
  }

  /** SIGKILL; resolves when the child is gone. */
  kill() {
    this.#killed = true;
    this.#process.kill('SIGKILL');
    return this.done;
  }
}
