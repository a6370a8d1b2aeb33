// Time and CPU time of a child process.

/** Microseconds of a clock that all processes of the machine share. */
export function now() {
  return Number(process.hrtime.bigint()) / 1000;
}

/** Starts to count CPU time, of all threads of this process; the result tells the microseconds. */
export function cpuMeter() {
  const before = process.cpuUsage();
  return () => {
    const { user, system } = process.cpuUsage(before);
    return user + system;
  };
}

/** The most memory that this process ever had, in MB. */
export function peakMemory() {
  return process.resourceUsage().maxRSS / 1024;
}

/** A count that somebody waits for. */
export class Countdown {
  #left = 0;
  #resolve;
  #promise = Promise.resolve();

  /** Begins to count; the promise of `reached` resolves with the time of the last `hit`. */
  start(count) {
    this.#left = count;
    this.#promise = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  hit() {
    if (--this.#left === 0) this.#resolve(now());
  }

  get reached() {
    return this.#promise;
  }
}
