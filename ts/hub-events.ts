import { EventKind } from './native.js';

/** How an element of an event crosses the boundary, see `List` in `src/binding/events.rs`. */
enum Form {
  /** A number. */
  Number,
  /** A number, 0 for false. */
  Flag,
  /** The next of the values. */
  Value,
  /** Three numbers: 1 if their buffer is the next of the values, where they begin, and where they end. */
  Bytes,
  /** A number of numbers, and these. */
  List,
}

/** The elements of each event behind its kind and its endpoint. */
const ELEMENTS: Record<EventKind, readonly Form[]> = {
  [EventKind.Shapes]: [Form.Bytes],
  [EventKind.ShapesForgotten]: [],
  [EventKind.Frames]: [Form.Bytes, Form.List],
  [EventKind.BadFrame]: [Form.Number, Form.Value, Form.Value, Form.Value, Form.Number],
  [EventKind.Connected]: [],
  [EventKind.ConnectFailed]: [Form.Value, Form.Value],
  [EventKind.Disconnected]: [Form.Value, Form.Value],
  [EventKind.RetryScheduled]: [Form.Number, Form.Number, Form.Value, Form.Value],
  [EventKind.Flushed]: [Form.Number],
  [EventKind.Accepted]: [Form.Number, Form.Number, Form.Number],
  [EventKind.Refused]: [Form.Number, Form.Number, Form.Value, Form.Value],
  [EventKind.PeerClosed]: [Form.Number, Form.Value, Form.Value],
  [EventKind.AcceptFailed]: [Form.Value, Form.Value],
  [EventKind.Stopped]: [Form.Number],
  [EventKind.Completed]: [Form.Number, Form.Value, Form.Value],
  [EventKind.Claimed]: [Form.Number, Form.Bytes, Form.Flag],
  [EventKind.Doorbell]: [],
};

/** An event, with its elements in the order of `ELEMENTS`. */
export interface HubEvent {
  kind: EventKind;
  endpoint: number;
  // biome-ignore lint/suspicious/noExplicitAny: the addon and `ELEMENTS` agree on the types.
  elements: any[];
}

/** Bytes that the addon uses again for its next events. */
export interface SharedBytes {
  source: ArrayBuffer;
  begin: number;
  end: number;
}

/** The inbox of the hub as numbers. */
let inboxNumbers = new Float64Array(0);

/** It is mostly the same again; a buffer that is made for a single call is not kept. */
function numbersOf(buffer: ArrayBuffer, inbox: ArrayBuffer): Float64Array {
  if (buffer !== inbox) return new Float64Array(buffer);
  if (inboxNumbers.buffer !== inbox) inboxNumbers = new Float64Array(inbox);
  return inboxNumbers;
}

/** The hub was closed. */
export function forgetInbox(): void {
  inboxNumbers = new Float64Array(0);
}

/** What the dispatcher is called with, see `Arguments` in `src/binding/events.rs`. */
export class EventReader {
  readonly #numbers: Float64Array;
  readonly #end: number;
  readonly #inbox: ArrayBuffer;
  readonly #values: unknown[] | undefined;
  #at: number;
  #value = 0;

  constructor(
    buffer: ArrayBuffer,
    begin: number,
    count: number,
    inbox: ArrayBuffer,
    values: unknown[] | undefined,
  ) {
    this.#numbers = numbersOf(buffer, inbox);
    this.#at = begin;
    this.#end = begin + count;
    this.#inbox = inbox;
    this.#values = values;
  }

  /** The next event; `undefined` if there is none. */
  next(): HubEvent | undefined {
    if (this.#at === this.#end) return undefined;
    const kind = this.#number() as EventKind;
    const endpoint = this.#number();
    const forms = ELEMENTS[kind];
    const elements = new Array<unknown>(forms.length);
    for (let index = 0; index < forms.length; index++) {
      elements[index] = this.#element(forms[index] as Form);
    }
    return { kind, endpoint, elements };
  }

  #number(): number {
    return this.#numbers[this.#at++] as number;
  }

  #element(form: Form): unknown {
    switch (form) {
      case Form.Number:
        return this.#number();
      case Form.Flag:
        return this.#number() !== 0;
      case Form.Value:
        return this.#nextValue();
      case Form.Bytes: {
        const source = this.#number() === 0 ? this.#inbox : (this.#nextValue() as ArrayBuffer);
        return { source, begin: this.#number(), end: this.#number() };
      }
      case Form.List: {
        const list = new Array<number>(this.#number());
        for (let index = 0; index < list.length; index++) list[index] = this.#number();
        return list;
      }
    }
  }

  #nextValue(): unknown {
    return this.#values?.[this.#value++];
  }
}
