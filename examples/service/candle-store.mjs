// Where the persistence service keeps completed candles: one file for each.
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Kept for the time that a candle is being written; its name says so after a crash. */
const UNFINISHED = '.unfinished';

export class CandleStore {
  #folder;

  constructor(folder) {
    this.#folder = folder;
    mkdirSync(folder, { recursive: true });
  }

  /** A candle that comes twice, as it may after a crash, takes its own place. */
  save(candle) {
    const { ex, s, i, t } = candle;
    const path = join(this.#folder, `${[ex, s, i, t].map(encodeURIComponent).join(':')}.json`);
    writeFileSync(path + UNFINISHED, JSON.stringify(candle));
    renameSync(path + UNFINISHED, path);
  }

  /** All candles, in no particular order. */
  all() {
    return readdirSync(this.#folder)
      .filter((name) => !name.endsWith(UNFINISHED))
      .map((name) => JSON.parse(readFileSync(join(this.#folder, name), 'utf8')));
  }
}
