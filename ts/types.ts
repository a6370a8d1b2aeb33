/** A message of the queue. A `type`, for the reason given in `dto.ts`. */
export type QueueMessage = {
  /** Unique in its queue, not empty. */
  id: string;
  /** What kind of message it is, not empty. */
  type: string;
  /** Anything that JSON can hold; may be missing. */
  // biome-ignore lint/suspicious/noExplicitAny: the documented type, which handlers narrow.
  payload?: any;
  /** When it was made, in milliseconds since 1970; queues deliver the oldest first. */
  timestamp: number;
};

/**
 * A message on the socket: whatever `JSON.stringify` makes of it. The named fields are those that
 * services use; `id` asks a server with a request handler for a reply.
 */
export interface IPCMessage {
  // biome-ignore lint/suspicious/noExplicitAny: messages are the service's own.
  [field: string]: any;
  id?: string;
  type?: string;
  // biome-ignore lint/suspicious/noExplicitAny: messages are the service's own.
  payload?: any;
  timestamp?: number;
}

/** The part of `AbortSignal` that is used; declared so that no DOM or Node types are needed. */
export interface AbortSignalLike {
  readonly aborted: boolean;
  readonly reason?: unknown;
  addEventListener(type: 'abort', listener: () => void, options?: { once?: boolean }): void;
  removeEventListener(type: 'abort', listener: () => void): void;
}

/** What `stop()` and `close()` take. */
export interface DeadlineOptions {
  /** Milliseconds to wait for running work; the rest is cut then. Default 5000. */
  deadlineMs?: number | undefined;
}
