import type { GapLoadOptionsDTO, GapRecordDTO, GapRecordInputDTO, StateEntryDTO } from './dto.js';
import { invalidArgument } from './errors.js';
import { array, describe, object, text } from './options.js';
import {
  checkedQueue,
  type PollableQueue,
  SQLiteQueuePoller,
  type SQLiteQueuePollerOptions,
} from './poller.js';
import { callNative, SQLiteQueue } from './queue.js';
import type { SQLiteQueueConfig } from './queue-types.js';
import { isText } from './records.js';

/** Options of {@link RuntimeDatabase}; beside the path, those of a `SQLiteQueue`. */
export interface RuntimeDatabaseConfig extends Omit<SQLiteQueueConfig, 'dbPath'> {
  /** The database file. Missing folders and the file are made, readable by their owner only. */
  runtimeDbPath: string;
}

/** The state of one symbol. `stateJson` may be any text: it is stored and returned as it is. */
export type StateRecord = Pick<StateEntryDTO, 'exchange' | 'symbol' | 'stateJson'>;

/** A stretch of trades that was missed. */
export type GapInput = GapRecordInputDTO;

/** A gap as it is recorded. */
export type GapRecord = GapRecordDTO;

/** Which gaps to load: those that meet every condition given. */
export type GapFilter = GapLoadOptionsDTO;

/**
 * A queue whose file also keeps the states of candles under construction and the records of gaps.
 * It is a `SQLiteQueue` with more methods, and either class opens the files of the other.
 *
 * Files of every version of the original package are brought up to date when they are opened, all
 * at once or not at all, and processes that run the original can go on using them.
 */
export class RuntimeDatabase extends SQLiteQueue {
  /**
   * Opens the file, or makes it.
   *
   * @throws {IpcError} as the constructor of `SQLiteQueue`.
   */
  constructor(config: RuntimeDatabaseConfig) {
    object('config', config);
    const { runtimeDbPath, ...options } = config;
    super({ ...options, dbPath: text('runtimeDbPath', runtimeDbPath) }, true);
  }

  /**
   * Stores the state of a symbol in the place of an earlier one. When this returns, the state
   * survives what `durability` says.
   *
   * @throws {IpcError} `ERR_IPC_INVALID_ARGUMENT`; SQLite's code: the state is not stored then.
   */
  saveState(exchange: string, symbol: string, stateJson: string): void {
    const [of, which, json] = stateTexts({ exchange, symbol, stateJson }, '');
    this[callNative]((native) => native.saveState(of, which, json));
  }

  /**
   * Stores states in one transaction: all or none.
   *
   * @throws {IpcError} as `saveState()`; the text names the state that is to blame.
   */
  saveStateBatch(states: readonly StateRecord[]): void {
    const texts = array('states', states).flatMap((state, index) => {
      const name = `states[${index}]`;
      object(name, state);
      return stateTexts(state, `${name}.`);
    });
    this[callNative]((native) => native.saveStates(texts));
  }

  /** The state of a symbol, or null if there is none. */
  loadState(exchange: string, symbol: string): string | null {
    const [of, which] = [word('exchange', exchange), word('symbol', symbol)];
    return this[callNative]((native) => native.loadStates(of, [which]))[2] ?? null;
  }

  /** The states of these symbols, of as many as there are, in their order and without repetition. */
  loadStatesBatch(exchange: string, symbols: readonly string[]): StateRecord[] {
    const of = word('exchange', exchange);
    const wanted = array('symbols', symbols).map((symbol, index) =>
      word(`symbols[${index}]`, symbol),
    );
    return records(this[callNative]((native) => native.loadStates(of, [...new Set(wanted)])));
  }

  /** Every state of every exchange. */
  loadAllStates(): StateRecord[] {
    return records(this[callNative]((native) => native.loadAllStates()));
  }

  /** Every state of one exchange. */
  loadStatesByExchange(exchange: string): StateRecord[] {
    const of = word('exchange', exchange);
    return records(this[callNative]((native) => native.loadAllStates(of)));
  }

  /**
   * Records a gap. One that is recorded already, by its exchange, symbol and both trades, is left
   * as it is: it keeps the time at which it was first found, and stays synced if it was.
   *
   * @throws {IpcError} `ERR_IPC_INVALID_ARGUMENT`; SQLite's code: the gap is not recorded then.
   */
  saveGap(gap: GapInput): void {
    const json = gapJson(gap, 'gap');
    this[callNative]((native) => native.saveGaps(`[${json}]`));
  }

  /**
   * Records gaps in one transaction: all or none.
   *
   * @throws {IpcError} as `saveGap()`; the text names the gap that is to blame.
   */
  saveGapBatch(gaps: readonly GapInput[]): void {
    const json = array('gaps', gaps).map((gap, index) => gapJson(gap, `gaps[${index}]`));
    this[callNative]((native) => native.saveGaps(`[${json.join(',')}]`));
  }

  /** Gaps, by default all of them, the one that was found last first. */
  loadGaps(filter: GapFilter = {}): GapRecord[] {
    object('filter', filter);
    const { exchange, symbol, syncedOnly } = filter;
    if (exchange !== undefined) word('exchange', exchange);
    if (symbol !== undefined) word('symbol', symbol);
    if (syncedOnly !== undefined && typeof syncedOnly !== 'boolean') {
      throw invalidArgument(`syncedOnly must be true or false, not ${describe(syncedOnly)}`);
    }
    const json = JSON.stringify({ exchange, symbol, syncedOnly });
    return JSON.parse(this[callNative]((native) => native.loadGaps(json))) as GapRecord[];
  }

  /**
   * Records that the trades of these gaps were fetched, in one transaction. Unknown ids are
   * ignored; gaps that were synced before keep their time.
   */
  markGapsSynced(ids: readonly number[]): void {
    const known = array('ids', ids).map((id, index) => integer(`ids[${index}]`, id));
    this[callNative]((native) => native.markGapsSynced(JSON.stringify(known)));
  }

  /** The version of the file's tables: 5, or a higher one if a later process was at work. */
  getSchemaVersion(): number {
    return this[callNative]((native) => native.schemaVersion());
  }
}

/** Options of {@link RuntimeDatabasePoller}; beside the database, those of `SQLiteQueuePoller`. */
export interface RuntimeDatabasePollerConfig extends Omit<SQLiteQueuePollerOptions, 'queue'> {
  /** A `RuntimeDatabase`, or any object with `dequeue`, `markProcessed` and `cleanup`. */
  database: PollableQueue;
}

/** The poller of a runtime database's queue; it is the engine of `SQLiteQueuePoller`. */
export class RuntimeDatabasePoller extends SQLiteQueuePoller {
  /** @throws {IpcError} `ERR_IPC_INVALID_ARGUMENT` when an option is not what it should be. */
  constructor(config: RuntimeDatabasePollerConfig) {
    object('config', config);
    const { database, ...options } = config;
    super({ ...options, queue: checkedQueue('database', database) });
  }
}

/** A non-empty string that has a form in UTF-8: any other would be stored as another one. */
function word(name: string, value: unknown): string {
  const known = text(name, value);
  if (!isText(known)) throw invalidArgument(`${name} must be a string of whole characters`);
  return known;
}

function integer(name: string, value: unknown): number {
  if (!Number.isSafeInteger(value) || (value as number) < 0) {
    throw invalidArgument(`${name} must be a whole number of at least 0, not ${describe(value)}`);
  }
  return value as number;
}

function stateTexts({ exchange, symbol, stateJson }: StateRecord, prefix: string) {
  if (typeof stateJson !== 'string') {
    throw invalidArgument(`${prefix}stateJson must be a string, not ${describe(stateJson)}`);
  }
  // States are long, and this is the way to look at every character that costs nothing.
  if (!(stateJson as string & { isWellFormed(): boolean }).isWellFormed()) {
    throw invalidArgument(`${prefix}stateJson must be a string of whole characters`);
  }
  return [word(`${prefix}exchange`, exchange), word(`${prefix}symbol`, symbol), stateJson] as const;
}

/** A gap in the form that the addon reads. */
function gapJson(gap: GapInput, name: string): string {
  object(name, gap);
  const { exchange, symbol, fromTradeId, toTradeId, gapSize, detectedAt } = gap;
  const words = Object.entries({ exchange, symbol });
  const numbers = Object.entries({ fromTradeId, toTradeId, gapSize, detectedAt });
  return JSON.stringify([
    ...words.map(([field, value]) => word(`${name}.${field}`, value)),
    ...numbers.map(([field, value]) => integer(`${name}.${field}`, value)),
  ]);
}

/** The records of a flat array. */
function records(texts: readonly string[]): StateRecord[] {
  const states: StateRecord[] = [];
  for (let index = 0; index < texts.length; index += 3) {
    const [exchange, symbol, stateJson] = texts.slice(index, index + 3) as [string, string, string];
    states.push({ exchange, symbol, stateJson });
  }
  return states;
}
