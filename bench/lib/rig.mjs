// The child processes of one subject, and the folder they share.
import { fork } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const CHILD = fileURLToPath(new URL('./child.mjs', import.meta.url));
/** A call that takes longer has hung. What takes its time, as filling a file, roles do at once. */
const CALL_TIMEOUT_MS = 3 * 60_000;

/** Folders to be removed, also when the run is interrupted: some hold gigabytes. */
const folders = new Set();
process.on('exit', () => {
  for (const folder of folders) remove(folder);
});

function remove(folder) {
  rmSync(folder, { recursive: true, force: true });
  folders.delete(folder);
}

/** One child process, whose role's methods can be called. */
class Actor {
  #child;
  #calls = new Map();
  #last = 0;
  /** Most memory that the process had at the end of a call, in MB. */
  memory = 0;

  constructor(file, role, context) {
    this.#child = fork(CHILD, [JSON.stringify({ file, role, context })], {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    let errors = '';
    this.#child.stderr.on('data', (data) => {
      errors = (errors + data).slice(-4000);
    });
    this.ready = new Promise((resolve, reject) => {
      this.#child.on('message', (message) => {
        if (message.ready === true) resolve();
        else if (message.ready === false) reject(new Error(message.error));
        else this.#answer(message);
      });
      this.#child.on('exit', (code, signal) => {
        const error = new Error(`the ${role} ended (${signal ?? code}): ${errors}`);
        reject(error);
        for (const { reject } of this.#calls.values()) reject(error);
        this.#calls.clear();
      });
    });
    this.ready.catch(() => {});
  }

  #answer({ call, value, memory, error }) {
    const waiting = this.#calls.get(call);
    this.#calls.delete(call);
    if (memory > this.memory) this.memory = memory;
    if (error === undefined) waiting?.resolve(value);
    else waiting?.reject(new Error(error));
  }

  call(method, ...args) {
    const call = ++this.#last;
    let timer;
    return new Promise((resolve, reject) => {
      this.#calls.set(call, { resolve, reject });
      timer = setTimeout(() => reject(new Error(`'${method}' hangs`)), CALL_TIMEOUT_MS);
      this.#child.send({ call, method, args });
    }).finally(() => clearTimeout(timer));
  }

  end() {
    return new Promise((resolve) => {
      if (this.#child.exitCode !== null || this.#child.signalCode !== null) return resolve();
      this.#child.once('exit', resolve);
      this.#child.kill('SIGKILL');
    });
  }
}

/** All children of a subject. */
export class Rig {
  actors = {};
  #folders = [];

  /** Starts the roles in order, each when the one before it is ready. */
  static async open(scenario, subject, params, dataFolder) {
    const rig = new Rig();
    // Sockets have short paths only; files belong on a disk.
    const sockets = rig.#folder(tmpdir());
    const data = rig.#folder(dataFolder);
    const context = { subject, params, socketPath: join(sockets, 's'), dbPath: join(data, 'q.db') };
    try {
      for (const [role, count] of Object.entries(scenario.children(params, subject))) {
        const actors = Array.from(
          { length: count },
          () => new Actor(fileURLToPath(scenario.file), role, context),
        );
        rig.actors[role] = actors.length === 1 ? actors[0] : actors;
        for (const actor of actors) await actor.ready;
      }
    } catch (error) {
      await rig.close();
      throw error;
    }
    return rig;
  }

  #folder(parent) {
    const folder = mkdtempSync(join(parent, 'ipc-bench-'));
    this.#folders.push(folder);
    folders.add(folder);
    return folder;
  }

  /** Peak memory of all children together, in MB. */
  get memory() {
    return Object.values(this.actors)
      .flat()
      .reduce((sum, actor) => sum + actor.memory, 0);
  }

  async close() {
    await Promise.all(
      Object.values(this.actors)
        .flat()
        .map((actor) => actor.end()),
    );
    for (const folder of this.#folders) remove(folder);
  }
}
