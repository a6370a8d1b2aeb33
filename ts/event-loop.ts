import { IpcError, internal, textOf } from './errors.js';
import { MalformedFrame, parseFrame } from './frames.js';
import { EventReader, forgetInbox, type HubEvent, type SharedBytes } from './hub-events.js';
import { addon, EventKind, type NativeHub } from './native.js';
import { forgetRoom } from './text-writer.js';
import { forgetBuffer, readMessages, readPackage, ShapeTable } from './value-reader.js';

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
  forgetInbox();
  forgetBuffer();
  forgetRoom();
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

/**
 * Takes `count` numbers of `buffer`, and the values that are none. Runs everything even if a listener
 * throws; the first such error goes on to the process.
 */
function dispatch(
  buffer: ArrayBuffer,
  begin: number,
  count: number,
  inbox: ArrayBuffer,
  values: unknown[] | undefined,
): void {
  const events = readEvents(new EventReader(buffer, begin, count, inbox, values));
  let failed = false;
  let failure: unknown;
  for (const event of events) {
    try {
      tell(event);
    } catch (error) {
      if (!failed) failure = error;
      failed = true;
    }
  }
  if (failed) throw failure;
}

/**
 * Reads all events that concern an endpoint, with the messages of frames and claims. Before anything else runs, which may run the
 * event loop in turn: the addon uses its buffer again then.
 */
function readEvents(reader: EventReader): HubEvent[] {
  const events: HubEvent[] = [];
  for (let event = reader.next(); event !== undefined; event = reader.next()) {
    const { kind, endpoint, elements } = event;
    switch (kind) {
      case EventKind.Shapes: {
        const { source, begin, end } = elements[0] as SharedBytes;
        shapes.add(source, begin, end);
        continue;
      }
      case EventKind.ShapesForgotten:
        shapes.clear();
        continue;
      case EventKind.Frames:
        elements[0] = messagesOf(elements[0], elements[1]);
        break;
      case EventKind.Claimed: {
        const table = endpoints.get(endpoint)?.shapes;
        if (table !== undefined) elements[1] = claimsOf(table, elements[1]);
        break;
      }
    }
    events.push(event);
  }
  return events;
}

function messagesOf({ source, begin, end }: SharedBytes, runs: number[]): unknown[] {
  let count = 0;
  for (let run = 1; run < runs.length; run += 3) count += runs[run] as number;
  try {
    return readMessages(shapes, source, begin, end, count, parseFrame);
  } catch (error) {
    // There was no memory for all of it. What comes behind it must not suffer.
    return new Array<unknown>(count).fill(new MalformedFrame(unreadable(error)));
  }
}

/** The claims, or why there was no memory for them: their leases end. */
function claimsOf(table: ShapeTable, { source, begin, end }: SharedBytes): unknown {
  try {
    return readPackage(table, source, begin, end);
  } catch (error) {
    return unreadable(error);
  }
}

function unreadable(error: unknown): IpcError {
  return internal(`Messages could not be read: ${textOf(error)}`, error);
}

function tell({ kind, endpoint: key, elements: e }: HubEvent): void {
  const endpoint = endpoints.get(key);
  switch (kind) {
    case EventKind.Frames:
      endpoint?.onFrames?.(e[0], e[1]);
      break;
    case EventKind.BadFrame:
      endpoint?.onBadFrame?.(e[0], e[1], e[2], e[3], e[4]);
      break;
    case EventKind.Connected:
      endpoint?.onConnected?.();
      break;
    case EventKind.ConnectFailed:
      endpoint?.onConnectFailed?.(e[0], e[1]);
      break;
    case EventKind.Disconnected:
      endpoint?.onDisconnected?.(e[0], e[1]);
      break;
    case EventKind.RetryScheduled:
      endpoint?.onRetryScheduled?.(e[0], e[1], e[2], e[3]);
      break;
    case EventKind.Flushed:
      endpoint?.onFlushed?.(e[0]);
      break;
    case EventKind.Accepted:
      endpoint?.onAccepted?.(e[0], e[1], e[2]);
      break;
    case EventKind.Refused:
      endpoint?.onRefused?.(e[0], e[1], e[2], e[3]);
      break;
    case EventKind.PeerClosed:
      endpoint?.onPeerClosed?.(e[0], e[1], e[2]);
      break;
    case EventKind.AcceptFailed:
      endpoint?.onAcceptFailed?.(e[0], e[1]);
      break;
    case EventKind.Stopped:
      endpoint?.onStopped?.(e[0]);
      break;
    case EventKind.Completed:
      endpoint?.onCompleted?.(e[0], e[1], e[2]);
      break;
    case EventKind.Claimed:
      if (e[1] instanceof IpcError) endpoint?.onCompleted?.(e[0], e[1].code, e[1].message);
      else endpoint?.onClaimed?.(e[0], e[1], e[2]);
      break;
    case EventKind.Doorbell:
      endpoint?.onDoorbell?.();
      break;
  }
}
