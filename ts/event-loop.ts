import { IpcError, internal, textOf } from './errors.js';
import { MalformedFrame, parseFrame } from './frames.js';
import { addon, EventKind, type NativeHub } from './native.js';
import { readMessages, readPackage, ShapeTable } from './value-reader.js';

/** An endpoint that events are addressed to. Each method takes what its event carries. */
export interface Endpoint {
  /**
   * `messages` of all runs. `runs`: connection, count, number of the first if they are marked, else 0;
   * and so on.
   */
  onFrames?(messages: unknown[], runs: number[]): void;
  onBadFrame?(
    connection: number,
    code: string,
    message: string,
    id: string | null,
    number: number,
  ): void;
  onConnected?(): void;
  onConnectFailed?(code: string, message: string): void;
  onDisconnected?(code: string, message: string): void;
  onRetryScheduled?(
    attempt: number,
    waitMs: number,
    code: string | null,
    message: string | null,
  ): void;
  onFlushed?(written: number): void;
  onAccepted?(connection: number, uid: number, pid: number): void;
  onRefused?(uid: number, pid: number, code: string, message: string): void;
  onPeerClosed?(connection: number, code: string | null, message: string | null): void;
  onAcceptFailed?(code: string, message: string): void;
  onStopped?(cut: number): void;
  onCompleted?(ticket: number, code: string | null, value: string): void;
  /** The claims, and whether the next message is to be delivered alone, or this one is. */
  onClaimed?(ticket: number, claims: unknown, suspects: boolean): void;
  /** The shapes of what `onClaimed` is given. */
  readonly shapes?: ShapeTable;
  onDoorbell?(): void;
}

/**
 * The native side of this copy of the package: made when it is needed, closed when nothing uses
 * it, so that neither descriptors nor the memory of a test file's realm outlive their use.
 */
let hub: NativeHub | undefined;
/** The shapes of frames. */
const shapes = new ShapeTable();
const endpoints = new Map<number, Endpoint>();
let holders = 0;

/** The sockets of this environment. */
export function nativeHub(): NativeHub {
  if (hub === undefined) {
    hub = new addon.NativeHub(dispatch);
    shapes.clear();
    // `process.exit()` skips the hooks in which the addon would remove its socket files.
    process.once('exit', releasePaths);
    SETTLED.then(closeIfIdle);
  }
  return hub;
}

function releasePaths(): void {
  hub?.releasePaths();
}

const SETTLED = Promise.resolve();

/** Checked a moment later, because what ends is often followed at once by what begins. */
function closeIfIdle(): void {
  if (endpoints.size > 0 || holders > 0) return;
  process.removeListener('exit', releasePaths);
  hub?.close();
  hub = undefined;
}

/** Sends the events of a client, server or connection to `endpoint`. */
export function attach(key: number, endpoint: Endpoint): void {
  endpoints.set(key, endpoint);
}

/** Ends {@link attach}. */
export function detach(key: number): void {
  endpoints.delete(key);
  if (endpoints.size === 0) SETTLED.then(closeIfIdle);
}

/**
 * One reason for the process to stay alive. Of the sockets nothing else keeps it: the handles of
 * the addon are all unreferenced.
 */
export class KeepAlive {
  #active = false;
  #referenced = true;

  /** Whether there is something to stay alive for. */
  set active(active: boolean) {
    this.#change(() => {
      this.#active = active;
    });
  }

  /** Whether that is to count, as `ref()` and `unref()` say. */
  set referenced(referenced: boolean) {
    this.#change(() => {
      this.#referenced = referenced;
    });
  }

  get #holds(): boolean {
    return this.#active && this.#referenced;
  }

  #change(change: () => void): void {
    const before = this.#holds;
    change();
    const after = this.#holds;
    if (before === after) return;
    holders += after ? 1 : -1;
    if (holders === (after ? 1 : 0)) nativeHub().setKeepAlive(after);
  }
}

/** Runs everything even if a listener throws; the first such error goes on to the process. */
function dispatch(events: unknown[]): void {
  readFrames(events);
  let failed = false;
  let failure: unknown;
  for (let at = 0; at < events.length; at = nextOf(events, at)) {
    try {
      one(events, at);
    } catch (error) {
      if (!failed) failure = error;
      failed = true;
    }
  }
  if (failed) throw failure;
}

/**
 * Puts the messages of all frames and claims in the place of their buffers. Before anything else runs, which
 * may run the event loop in turn: the addon uses its buffer again then.
 */
function readFrames(events: unknown[]): void {
  // biome-ignore lint/suspicious/noExplicitAny: the addon and this table agree on the types.
  const a = events as any[];
  for (let at = 0; at < a.length; at = nextOf(a, at)) {
    const first = at + 2;
    switch (a[at] as EventKind) {
      case EventKind.Shapes:
        shapes.add(a[first], a[first + 1], a[first + 2]);
        break;
      case EventKind.ShapesForgotten:
        shapes.clear();
        break;
      case EventKind.Frames:
        a[first] = messagesOf(a[first], a[first + 1], a[first + 3]);
        break;
      case EventKind.Claimed: {
        const table = endpoints.get(a[at + 1])?.shapes;
        if (table !== undefined) a[first + 2] = claimsOf(table, a[first + 2], a[first + 3]);
        break;
      }
    }
  }
}

function messagesOf(source: ArrayBuffer, begin: number, runs: number[]): unknown[] {
  let count = 0;
  for (let run = 1; run < runs.length; run += 3) count += runs[run] as number;
  try {
    return readMessages(shapes, source, begin, count, parseFrame);
  } catch (error) {
    // There was no memory for all of it. What comes behind it must not suffer.
    return new Array<unknown>(count).fill(new MalformedFrame(unreadable(error)));
  }
}

/** The claims, or why there was no memory for them: their leases end. */
function claimsOf(table: ShapeTable, source: ArrayBuffer, begin: number): unknown {
  try {
    return readPackage(table, source, begin);
  } catch (error) {
    return unreadable(error);
  }
}

function unreadable(error: unknown): IpcError {
  return internal(`Messages could not be read: ${textOf(error)}`, error);
}

/** Where the event after this one begins. */
function nextOf(events: unknown[], at: number): number {
  return at + 2 + ARGUMENTS[events[at] as EventKind];
}

function one(events: unknown[], at: number): void {
  const kind = events[at] as EventKind;
  const endpoint = endpoints.get(events[at + 1] as number);
  const first = at + 2;
  // biome-ignore lint/suspicious/noExplicitAny: the addon and this table agree on the types.
  const a = events as any[];
  switch (kind) {
    case EventKind.Shapes:
    case EventKind.ShapesForgotten:
      break;
    case EventKind.Frames:
      endpoint?.onFrames?.(a[first], a[first + 3]);
      break;
    case EventKind.BadFrame:
      endpoint?.onBadFrame?.(a[first], a[first + 1], a[first + 2], a[first + 3], a[first + 4]);
      break;
    case EventKind.Connected:
      endpoint?.onConnected?.();
      break;
    case EventKind.ConnectFailed:
      endpoint?.onConnectFailed?.(a[first], a[first + 1]);
      break;
    case EventKind.Disconnected:
      endpoint?.onDisconnected?.(a[first], a[first + 1]);
      break;
    case EventKind.RetryScheduled:
      endpoint?.onRetryScheduled?.(a[first], a[first + 1], a[first + 2], a[first + 3]);
      break;
    case EventKind.Flushed:
      endpoint?.onFlushed?.(a[first]);
      break;
    case EventKind.Accepted:
      endpoint?.onAccepted?.(a[first], a[first + 1], a[first + 2]);
      break;
    case EventKind.Refused:
      endpoint?.onRefused?.(a[first], a[first + 1], a[first + 2], a[first + 3]);
      break;
    case EventKind.PeerClosed:
      endpoint?.onPeerClosed?.(a[first], a[first + 1], a[first + 2]);
      break;
    case EventKind.AcceptFailed:
      endpoint?.onAcceptFailed?.(a[first], a[first + 1]);
      break;
    case EventKind.Stopped:
      endpoint?.onStopped?.(a[first]);
      break;
    case EventKind.Completed:
      endpoint?.onCompleted?.(a[first], a[first + 1], a[first + 2]);
      break;
    case EventKind.Claimed:
      if (a[first + 2] instanceof IpcError) {
        const { code, message } = a[first + 2];
        endpoint?.onCompleted?.(a[first], code, message);
      } else {
        endpoint?.onClaimed?.(a[first], a[first + 2], a[first + 1] === 1);
      }
      break;
    case EventKind.Doorbell:
      endpoint?.onDoorbell?.();
      break;
  }
}

/** Elements of each event behind its kind and its endpoint. */
const ARGUMENTS: Record<EventKind, number> = {
  [EventKind.Shapes]: 3,
  [EventKind.ShapesForgotten]: 0,
  [EventKind.Frames]: 4,
  [EventKind.BadFrame]: 5,
  [EventKind.Connected]: 0,
  [EventKind.ConnectFailed]: 2,
  [EventKind.Disconnected]: 2,
  [EventKind.RetryScheduled]: 4,
  [EventKind.Flushed]: 1,
  [EventKind.Accepted]: 3,
  [EventKind.Refused]: 4,
  [EventKind.PeerClosed]: 3,
  [EventKind.AcceptFailed]: 2,
  [EventKind.Stopped]: 1,
  [EventKind.Completed]: 3,
  [EventKind.Claimed]: 5,
  [EventKind.Doorbell]: 0,
};
