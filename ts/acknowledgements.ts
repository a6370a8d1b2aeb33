/**
 * Acknowledgements on the wire, without what sends and receives them; `docs/protocol.md` has the
 * format. Frames count from 1 per connection, marked ones only.
 */
import { IpcError } from './errors.js';
import { limits } from './limits.js';

/** White space behind the JSON text by which a frame is marked; see `src/frame.rs`. */
export const MARK = '\t \t';

/** What a server says of itself at the first marked frame of a connection. */
export interface Hello {
  version?: number;
  /** Marked messages that it wants to have unacknowledged at most. */
  window?: number;
  /** Longest message that it takes, in bytes of JSON. */
  maxFrameBytes?: number;
}

/** A frame that was not handled: its number, a code, and the reason for people. */
export type Refusal = [number: number, code: string, text: string];

/** Where an error that a handler throws has the code that the sender is told. @internal */
export const refusalCode: unique symbol = Symbol('refusalCode');

/** The code under which a message is refused whose handler threw this. */
export function refusalCodeOf(thrown: unknown): string {
  const known = thrown instanceof Error && (thrown as { [refusalCode]?: string })[refusalCode];
  return known || 'ERR_IPC_HANDLER_FAILED';
}

/** The content of a control frame. */
export interface Control {
  hello?: Hello;
  /** Every frame up to this number is settled. */
  through?: number;
  /** Ranges of settled frames beyond that: from, to, from, to, … */
  also?: number[];
  /** Which of the settled frames were refused. */
  refused?: Refusal[];
}

/**
 * The content of a marked frame from a server; undefined if it is not one of ours.
 *
 * @throws {IpcError} `ERR_IPC_MALFORMED_FRAME` when it is one of ours, and not as it has to be:
 * what a peer sends is believed in no detail. Unknown keys are those of a later version.
 */
export function controlOf(message: unknown): Control | undefined {
  if (typeof message !== 'object' || message === null) return undefined;
  const control = (message as { $ipc?: unknown }).$ipc;
  if (typeof control !== 'object' || control === null) return undefined;
  check(!Array.isArray(control), '$ipc');
  const { hello, through, also, refused } = control as Record<string, unknown>;
  check(hello === undefined || isHello(hello), 'hello');
  check(through === undefined || isCount(through), 'through');
  check(also === undefined || isRanges(also), 'also');
  check(refused === undefined || isRefusals(refused), 'refused');
  return control as Control;
}

function check(isSound: boolean, key: string): void {
  if (isSound) return;
  const text = `A control frame is malformed: ${key} is not what docs/protocol.md says`;
  throw new IpcError('ERR_IPC_MALFORMED_FRAME', text);
}

/** A server that leaves out a limit has none beyond the client's own. */
function isHello(value: unknown): boolean {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  const { window = 1, maxFrameBytes = 1 } = value as Partial<Record<keyof Hello, unknown>>;
  return isNumber(window) && isNumber(maxFrameBytes);
}

function isRanges(value: unknown): boolean {
  if (!Array.isArray(value) || value.length % 2 !== 0) return false;
  for (let at = 0; at < value.length; at += 2) {
    if (!isNumber(value[at]) || !isNumber(value[at + 1]) || value[at] > value[at + 1]) return false;
  }
  return true;
}

function isRefusals(value: unknown): boolean {
  return (
    Array.isArray(value) &&
    value.every(
      (entry) =>
        Array.isArray(entry) &&
        isNumber(entry[0]) &&
        typeof entry[1] === 'string' &&
        typeof entry[2] === 'string',
    )
  );
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** Frames are numbered from 1. */
function isNumber(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 1;
}

/** What a server has to tell one connection about its marked messages. */
export class Acknowledgements {
  #through = 0;
  /** Settled frames beyond `#through`. */
  readonly #beyond = new Ranges();
  /** Those of them that the client has not been told, in the order of their settlement. */
  #untold: number[] = [];
  #refused: Refusal[] = [];
  #toldThrough = 0;

  /** The message with this number was handled. */
  acknowledge(number: number): void {
    if (number !== this.#through + 1) {
      this.#beyond.add(number);
      this.#untold.push(number);
      return;
    }
    this.#through = this.#beyond.take(number + 1) ?? number;
  }

  /** The message with this number was not handled, and will not be. */
  refuse(number: number, code: string, text: string): void {
    this.#refused.push([number, code, text.slice(0, limits.refusalTextLengthMax)]);
    this.acknowledge(number);
  }

  /**
   * The texts of the control frames with all news, none if there are none. The refusals come first,
   * so that no frame says of a refused message that it is settled before the client knows the rest.
   */
  take(): string[] {
    const frames = new ControlFrames();
    for (const refusal of this.#refused) frames.refuse(refusal);
    const also = ranges(this.#untold.filter((number) => number > this.#through));
    for (let at = 0; at < also.length; at += 2) {
      frames.settle(also[at] as number, also[at + 1] as number);
    }
    const isFurther = this.#through > this.#toldThrough;
    this.#refused = [];
    this.#untold = [];
    this.#toldThrough = this.#through;
    return frames.end(isFurther ? this.#through : undefined);
  }
}

/** Bytes of a control frame around what it lists. */
const CONTROL_FRAME_BYTES =
  JSON.stringify({ $ipc: { through: Number.MAX_SAFE_INTEGER, also: [], refused: [] } }).length +
  MARK.length;

/** Control frames in the making: a new one begins where the last one would become too long. */
class ControlFrames {
  readonly #texts: string[] = [];
  #also: string[] = [];
  #refused: string[] = [];
  /** Bytes of what the last frame lists. */
  #bytes = 0;

  refuse(refusal: Refusal): void {
    const text = JSON.stringify(refusal);
    this.#makeRoom(Buffer.byteLength(text));
    this.#refused.push(text);
  }

  settle(from: number, to: number): void {
    const text = `${from},${to}`;
    this.#makeRoom(text.length);
    this.#also.push(text);
  }

  /** All texts; the last one says that every frame up to `through` is settled. */
  end(through: number | undefined): string[] {
    this.#finish(through);
    return this.#texts;
  }

  #makeRoom(bytes: number): void {
    const withComma = bytes + 1;
    if (CONTROL_FRAME_BYTES + this.#bytes + withComma > limits.controlBytesMax) this.#finish();
    this.#bytes += withComma;
  }

  #finish(through?: number): void {
    const fields: string[] = [];
    if (through !== undefined) fields.push(`"through":${through}`);
    if (this.#also.length > 0) fields.push(`"also":[${this.#also.join()}]`);
    if (this.#refused.length > 0) fields.push(`"refused":[${this.#refused.join()}]`);
    if (fields.length > 0) this.#texts.push(`{"$ipc":{${fields.join()}}}${MARK}`);
    this.#also = [];
    this.#refused = [];
    this.#bytes = 0;
  }
}

/**
 * Numbers, kept as the ranges that they form: a frame that is never settled costs nothing for all
 * those behind it. Between two ranges is a frame that is not settled, so that there are few.
 */
class Ranges {
  /** Both ends of each range, each with the other one. */
  readonly #ends = new Map<number, number>();

  /** Adds a number that is not there. */
  add(number: number): void {
    // What the neighbours belong to ends or begins with them.
    const from = this.#ends.get(number - 1);
    const to = this.#ends.get(number + 1);
    if (from !== undefined) this.#ends.delete(number - 1);
    if (to !== undefined) this.#ends.delete(number + 1);
    this.#ends.set(from ?? number, to ?? number);
    this.#ends.set(to ?? number, from ?? number);
  }

  /** Removes the range that begins with this number; its last number, if there is one. */
  take(from: number): number | undefined {
    if (this.#ends.size === 0) return undefined;
    const to = this.#ends.get(from);
    if (to === undefined) return undefined;
    this.#ends.delete(from);
    this.#ends.delete(to);
    return to;
  }
}

/** Numbers as ranges: from, to, from, to, … */
function ranges(numbers: number[]): number[] {
  numbers.sort((a, b) => a - b);
  const flat: number[] = [];
  for (const number of numbers) {
    if (number === (flat.at(-1) ?? Number.NaN) + 1) flat[flat.length - 1] = number;
    else flat.push(number, number);
  }
  return flat;
}
