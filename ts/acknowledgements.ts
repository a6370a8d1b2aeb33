/**
 * Acknowledgements on the wire, without what sends and receives them; `docs/protocol.md` has the
 * format. Frames count from 1 per connection, marked ones only.
 */
import { limits } from './limits.js';

/** White space behind the JSON text by which a frame is marked; see `src/frame.rs`. */
export const MARK = '\t \t';

/** What a server says of itself at the first marked frame of a connection. */
export interface Hello {
  version: number;
  /** Marked messages that it wants to have unacknowledged at most. */
  window: number;
  /** Longest message that it takes, in bytes of JSON. */
  maxFrameBytes: number;
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

/** The content of a marked frame from a server; undefined if it is not one of ours. */
export function controlOf(message: unknown): Control | undefined {
  if (typeof message !== 'object' || message === null) return undefined;
  const control = (message as { $ipc?: unknown }).$ipc;
  return typeof control === 'object' && control !== null ? control : undefined;
}

/** What a server has to tell one connection about its marked messages. */
export class Acknowledgements {
  #through = 0;
  /** Settled frames beyond `#through`. */
  readonly #beyond = new Set<number>();
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
    this.#through = number;
    while (this.#beyond.size > 0 && this.#beyond.delete(this.#through + 1)) this.#through++;
  }

  /** The message with this number was not handled, and will not be. */
  refuse(number: number, code: string, text: string): void {
    this.#refused.push([number, code, text.slice(0, limits.errorTextBytesMax)]);
    this.acknowledge(number);
  }

  /** The text of the control frame with all news; undefined if there are none. */
  take(): string | undefined {
    const control: Control = {};
    let isNews = false;
    if (this.#through > this.#toldThrough) {
      this.#toldThrough = control.through = this.#through;
      isNews = true;
    }
    if (this.#untold.length > 0) {
      const also = ranges(this.#untold.filter((number) => number > this.#through));
      this.#untold = [];
      if (also.length > 0) {
        control.also = also;
        isNews = true;
      }
    }
    if (this.#refused.length > 0) {
      control.refused = this.#refused;
      this.#refused = [];
      isNews = true;
    }
    return isNews ? JSON.stringify({ $ipc: control }) + MARK : undefined;
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
