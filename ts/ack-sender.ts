import { type Control, controlOf, type Hello, MARK } from './acknowledgements.js';
import { IpcError } from './errors.js';
import { HeldMessages } from './held-messages.js';
import { limits } from './limits.js';
import { fits, type MessageBody } from './message-body.js';
import type { NativeProgress } from './native.js';
import type { Outbox } from './outbox.js';
import { OverdueReplies } from './overdue-replies.js';
import { OwedReplies } from './owed-replies.js';
import { SentMessages } from './sent-messages.js';

/**
 * What is known of a message that was not refused: `handled`, its handler resolved; `received`,
 * the server has read it, and nothing more can be known of a server without acknowledgements.
 */
export type SocketLevel = 'handled' | 'received';

/** A message that waits for its acknowledgement. Exactly one of its methods is called, once. */
export interface Unacknowledged {
  /** What is sent, which may be given up once it has left. */
  readonly body: MessageBody;
  /** The length of that. */
  readonly length: number;
  /** What a server without acknowledgements would answer to. */
  readonly id: unknown;
  /** Its number on the connection; 0 as long as not a byte of it has left. Set by the sender. */
  number: number;
  /** Nobody waits any more. Set by `abandon()`. */
  isAbandoned: boolean;
  /** What holds it back. Set by the sender. */
  holder: HeldMessages | undefined;
  acknowledged(level: SocketLevel): void;
  /** The server will not handle it. */
  refused(error: IpcError): void;
  /** Nothing more can be learned: the connection is gone, or did not take it (its number is 0). */
  lost(error: IpcError): void;
}

/** How far the server is known to tell what became of messages. */
type Peer =
  /** It has not said anything yet. */
  | 'unknown'
  /** It acknowledges. */
  | 'acknowledging'
  /** An old server that replies to messages with an id. */
  | 'replying'
  /** An old server that says nothing at all. */
  | 'silent';

/** What an {@link AckSender} has to know of its connection. */
export interface AckSenderOptions {
  /** How far both sides have read each other, or null if that cannot be known. */
  progress: () => NativeProgress | null;
  /** Length of the messages that may be held back. */
  heldLengthMax: number;
  /** The server has acknowledged on an earlier connection. */
  wasGreeted: boolean;
  /** Replies to plain messages that may still come. */
  owedToPlain: OwedReplies;
}

/**
 * The marked messages of one connection: numbers them, holds back what the server's window does
 * not admit, and tells each what became of it.
 *
 * A server of the original package knows no acknowledgements. It is recognised by having read
 * everything without a greeting, which a server of this package sends when it has found the first
 * marked frame; a server that is merely stopped reads nothing. Its reply, where it gives any, then
 * counts as the acknowledgement, and else that it has read the bytes.
 */
export class AckSender {
  readonly #outbox: Outbox;
  /** Whether the server's silence proves as little as it can. */
  readonly #isPatient: boolean;
  readonly #progress: () => NativeProgress | null;
  /** Messages without a number. */
  readonly #held = new HeldMessages();
  readonly #heldLengthMax: number;
  /** Messages with a number and without an outcome. */
  readonly #sent = new SentMessages<Unacknowledged>();
  /** Their length. */
  #sentLength = 0;
  /** Every message up to this number has its outcome. */
  #settledThrough = 0;
  /** The first number that the kernel has not been offered. */
  #unoffered = 1;
  #last = 0;
  #window: number = limits.ackWindow;
  #peer: Peer = 'unknown';
  #peerMaxFrameBytes = Number.POSITIVE_INFINITY;
  /** Messages by the id that an old server would reply to. */
  readonly #byId = new Map<unknown, Unacknowledged>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** How far both sides had read each other at the last look. */
  #seen: NativeProgress | undefined;
  /** The server has once read everything that there was, a marked frame included. */
  #isGreetingDue = false;
  /** How often it was seen since that the server goes on and has not greeted. */
  #looks = 0;
  /** How often also nothing else had come from it. */
  #quietLooks = 0;
  readonly #owedToPlain: OwedReplies;
  /** Messages that a server has read and not replied to, until it does after all. */
  readonly #unanswered = new OwedReplies(limits.unansweredIdsMax);
  readonly #overdue = new OverdueReplies();
  #ended = false;
  #onIdle: (() => void) | undefined;

  constructor(outbox: Outbox, options: AckSenderOptions) {
    const { progress, heldLengthMax, wasGreeted, owedToPlain } = options;
    this.#outbox = outbox;
    this.#heldLengthMax = heldLengthMax;
    this.#progress = progress;
    this.#isPatient = wasGreeted;
    this.#owedToPlain = owedToPlain;
    outbox.onFlush = (error) => this.#offered(error);
  }

  /** Messages without an outcome, those that are held back included. */
  get size(): number {
    return this.#sent.size + this.#held.size;
  }

  /** Whether the server is known to acknowledge. */
  get isAcknowledging(): boolean {
    return this.#peer === 'acknowledging';
  }

  /** Messages that have left, or are about to, without an outcome. */
  get onWire(): number {
    return this.#sent.size;
  }

  /** Resolves when every message has its outcome. */
  async idle(): Promise<void> {
    while (this.size > 0) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
    }
  }

  /** Whether the server takes a message of this length, so far as it has said. */
  admits(body: MessageBody): boolean {
    return fits(body, this.#peerMaxFrameBytes - MARK.length);
  }

  /** Sends a message as soon as the window admits it. */
  send(message: Unacknowledged): void {
    if (this.#held.size === 0 && this.#hasRoom(message)) this.#write(message);
    else if (this.#mayHold(message)) this.#held.push(message);
    else message.lost(this.#full(message));
  }

  /** One message may be held whatever its length, as one may wait for the kernel. */
  #mayHold({ length }: Unacknowledged): boolean {
    return this.#held.size === 0 || this.#held.length + length <= this.#heldLengthMax;
  }

  #full({ length }: Unacknowledged): IpcError {
    return new IpcError(
      'ERR_IPC_OUTBOUND_FULL',
      `Connection is not drained by its peer: messages of ${this.#held.length} letters wait for room \
in the server's window, ${length} more would exceed maxOutboundBytes (${this.#heldLengthMax})`,
    );
  }

  /**
   * Takes a marked frame. False if it is a message of the user's.
   *
   * @throws {IpcError} `ERR_IPC_MALFORMED_FRAME`: it is none, and nothing of it is believed.
   */
  take(frame: unknown): boolean {
    let control: Control | undefined;
    try {
      control = controlOf(frame);
    } catch (error) {
      // No old server makes one. Its messages are not handled because their bytes were read.
      this.#acknowledges();
      this.#sendHeld();
      throw error;
    }
    if (control === undefined) return false;
    this.#acknowledges();
    if (control.hello !== undefined) this.#greeted(control.hello);
    this.#settle(control);
    this.#sendHeld();
    return true;
  }

  /** A plain message with this id is sent, to which an old server may reply too. */
  sentPlain(id: unknown): void {
    if (id && this.#peer !== 'acknowledging') this.#owedToPlain.add(id);
  }

  /** Takes a reply, which is all that an old server says. False if it is none of ours. */
  takeReply(reply: unknown): boolean {
    if (this.#peer === 'acknowledging') return false;
    if (typeof reply !== 'object' || reply === null) return false;
    const { id, success, error } = reply as Record<string, unknown>;
    // Of a server of either kind, which may have read that one long before the first of ours.
    if (this.#owedToPlain.take(id)) return false;
    if (this.#unanswered.take(id)) {
      // It only took its time. From here on its replies are waited for.
      this.#peer = 'replying';
      return true;
    }
    const message = this.#byId.get(id);
    if (message === undefined) return false;
    // A server that acknowledges says so before it replies.
    this.#peer = 'replying';
    if (success === false) {
      // Somebody else's handler made it, who may have put anything there.
      const reason = typeof error === 'string' ? error : 'it gave no reason';
      this.#finish(message)?.refused(refusal('ERR_IPC_HANDLER_FAILED', reason));
    } else {
      this.#finish(message)?.acknowledged('handled');
    }
    this.#sendHeld();
    return true;
  }

  /** The connection is gone. What of it is still read afterwards changes nothing. */
  end(error: IpcError): void {
    this.#ended = true;
    this.#outbox.onFlush = undefined;
    clearTimeout(this.#timer);
    const sent = this.#sent.all();
    this.#sent.clear();
    this.#byId.clear();
    for (const message of sent) message.lost(error);
    for (let held = this.#held.shift(); held !== undefined; held = this.#held.shift()) {
      held.lost(error);
    }
    this.#onIdle?.();
  }

  #hasRoom({ length, id }: Unacknowledged): boolean {
    if (this.#sent.size === 0) return true;
    // What such a server has read is known only when it has read everything.
    if (this.#peer === 'silent') return false;
    // The reply to one of two with the same id would be taken for the reply to the other.
    if (this.#byId.size > 0 && this.#byId.has(id)) return false;
    return this.#sent.size < this.#window && this.#sentLength + length <= limits.ackWindowLength;
  }

  #sendHeld(): void {
    // A silent server gets a whole window at once, and the next one when it has read that.
    const window = this.#peer === 'silent' && this.#sent.size === 0 ? this.#window : 0;
    for (let count = 0; ; count++) {
      const next = this.#held.peek();
      if (next === undefined) return;
      if (count >= window && !this.#hasRoom(next)) return;
      this.#held.shift();
      this.#write(next);
    }
  }

  #write(message: Unacknowledged): void {
    // Before it has its number: if that fails, it is not among those that have not left.
    this.#outbox.makeWay(message.body);
    // What that told may have led its publisher to store this one too.
    if (message.isAbandoned) return;
    message.number = ++this.#last;
    this.#sent.add(message);
    this.#sentLength += message.length;
    if (this.#peer !== 'acknowledging') {
      if (message.id) this.#expectReply(message);
      this.#watch();
    }
    this.#outbox.postMarked(message.body);
    this.#outbox.hasten();
  }

  /** A server that was silent so far gets messages with the same id too, whose replies are counted. */
  #expectReply(message: Unacknowledged): void {
    if (this.#byId.has(message.id)) this.#unanswered.add(message.id);
    this.#byId.set(message.id, message);
  }

  /** The outbox has offered everything to the kernel. */
  #offered(error: IpcError | undefined): void {
    const first = this.#unoffered;
    this.#unoffered = this.#last + 1;
    // What has left of a connection that is gone, nobody knows. After any other failure it is nothing.
    if (error === undefined || error.code === 'ERR_IPC_CONNECTION_LOST') return;
    // Not a byte of these has left, so that the server will give their numbers to others.
    const unsent: Unacknowledged[] = [];
    for (let number = first; number <= this.#last; number++) {
      const message = this.#finish(this.#sent.get(number));
      if (message !== undefined) unsent.push(message);
    }
    this.#last = first - 1;
    this.#unoffered = first;
    for (const message of unsent) {
      message.number = 0;
      message.lost(error);
    }
    // They made room. Not here, in the middle of a flush of the outbox.
    if (this.#held.size > 0) SETTLED.then(() => this.#sendHeld());
  }

  /** The server is known to acknowledge: whether it has read the bytes matters no longer. */
  #acknowledges(): void {
    if (this.#peer === 'acknowledging') return;
    this.#peer = 'acknowledging';
    this.#byId.clear();
    this.#unanswered.clear();
    this.#owedToPlain.clear();
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #greeted({ window, maxFrameBytes }: Hello): void {
    if (window !== undefined) this.#window = window;
    if (maxFrameBytes !== undefined) this.#peerMaxFrameBytes = maxFrameBytes;
  }

  #settle({ refused, also, through }: Control): void {
    for (const [number, code, text] of refused ?? []) {
      this.#finish(this.#sent.get(number))?.refused(refusal(code, text));
    }
    for (let at = 0; also !== undefined && at + 1 < also.length; at += 2) {
      this.#handled(also[at] as number, also[at + 1] as number);
    }
    if (through === undefined || through <= this.#settledThrough) return;
    this.#handled(this.#settledThrough + 1, through);
    this.#settledThrough = Math.min(through, this.#unoffered - 1);
  }

  /** Those of these numbers that have no outcome were handled. */
  #handled(first: number, last: number): void {
    const from = Math.max(first, this.#settledThrough + 1);
    // Nobody can have handled what has not left.
    const to = Math.min(last, this.#unoffered - 1);
    if (to - from >= this.#sent.size) {
      // The range is longer than what there is to be found in it.
      for (const message of this.#sent.all()) {
        if (message.number > to) return;
        if (message.number >= from) this.#finish(message)?.acknowledged('handled');
      }
      return;
    }
    for (let number = from; number <= to; number++) {
      this.#finish(this.#sent.get(number))?.acknowledged('handled');
    }
  }

  /** Takes a message out that is about to have its outcome. */
  #finish(message: Unacknowledged | undefined): Unacknowledged | undefined {
    if (message === undefined || !this.#sent.delete(message)) return undefined;
    this.#sentLength -= message.length;
    if (this.#byId.size > 0 && this.#byId.get(message.id) === message) {
      this.#byId.delete(message.id);
    }
    if (this.#sent.size === 0) this.#onIdle?.();
    return message;
  }

  /** Looks now and then whether the server has read everything, as long as it says nothing. */
  #watch(): void {
    if (this.#timer !== undefined || this.#ended) return;
    const wait = this.#peer === 'silent' ? limits.legacyPollMs : limits.helloPollMs;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#look();
      if (this.#sent.size > 0 && this.#peer !== 'acknowledging') this.#watch();
    }, wait);
    // The connection keeps the process alive.
    (this.#timer as { unref?: () => void }).unref?.();
  }

  #look(): void {
    const before = this.#seen;
    const now = this.#progress();
    if (now === null) return;
    this.#seen = now;
    // A greeting may be among what has not been seen yet.
    if (now.unseen > 0) return;
    if (now.unread === 0) this.#isGreetingDue = true;
    if (this.#peer === 'unknown' && !this.#believesInSilence(before, now)) return;
    if (now.unread === 0) this.#settleRead();
  }

  /**
   * Whether a server that has read a marked frame and has not greeted is an old one by now.
   *
   * Looks are counted, not time: between two of them the event loop reads its sockets, also after
   * it was held up for long. Those of a server that has something to read and does not do not count.
   *
   * While something arrives between the looks, a greeting may be behind it; and a server that has
   * acknowledged before is more likely to have been held up in the middle of its greeting than to be
   * an older version now. Neither may last for ever, and both need far more looks.
   */
  #believesInSilence(before: NativeProgress | undefined, now: NativeProgress): boolean {
    const isAlive = now.unread === 0 || now.readAtLeast > (before?.readAtLeast ?? 0);
    if (!this.#isGreetingDue || !isAlive) return false;
    this.#looks++;
    if (before?.received === now.received) this.#quietLooks++;
    const isSilent =
      this.#looks >= PATIENT_LOOKS || (!this.#isPatient && this.#quietLooks >= QUIET_LOOKS);
    if (isSilent) this.#peer = 'silent';
    return isSilent;
  }

  /**
   * The server has read all that it was offered, which is all that can be known of messages that it
   * does not reply to: those without an id, and those whose reply is overdue. Whoever waits for no
   * outcome any more does not keep the place of others in the window either.
   */
  #settleRead(): void {
    // Not what is written meanwhile: whoever is told may send the next one.
    const end = this.#unoffered;
    const overdue = this.#peer === 'replying' ? this.#overdue.look(end - 1) : end;
    for (const message of this.#sent.all()) {
      if (message.number >= end) break;
      if (message.number > overdue && message.id && !message.isAbandoned) continue;
      if (this.#byId.get(message.id) === message) this.#unanswered.add(message.id);
      this.#finish(message)?.acknowledged('received');
    }
    this.#sendHeld();
  }
}

const QUIET_LOOKS = limits.helloTimeoutMs / limits.helloPollMs;
const PATIENT_LOOKS = limits.helloPatienceMs / limits.helloPollMs;

const SETTLED = Promise.resolve();

function refusal(code: string, text: string): IpcError {
  return new IpcError('ERR_IPC_REFUSED', `The server refused the message: ${text}`, {
    cause: new IpcError(code, text),
  });
}
