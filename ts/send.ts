import type { SocketLevel, Unacknowledged } from './ack-sender.js';
import { DeliveryError, IpcError } from './errors.js';
import { abandon, type HeldMessages } from './held-messages.js';
import { type MessageBody, release } from './message-body.js';

/** What is known of a message that was sent with `{ ack: true }`. */
export interface SendReceipt {
  /**
   * `handled`: the server's handler resolved. `received`: the server has read the message; more
   * cannot be known of a server of the original package that does not reply to it.
   */
  readonly level: SocketLevel;
}

/** A message that `send()` waits for. */
export class Send implements Unacknowledged {
  number = 0;
  isAbandoned = false;
  holder: HeldMessages | undefined;
  readonly length: number;
  readonly #resolve: (receipt: SendReceipt) => void;
  readonly #reject: (error: unknown) => void;
  readonly #timer: ReturnType<typeof setTimeout>;

  constructor(
    readonly body: MessageBody,
    readonly id: unknown,
    timeoutMs: number,
    resolve: (receipt: SendReceipt) => void,
    reject: (error: unknown) => void,
  ) {
    this.length = body.length;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#timer = setTimeout(() => {
      abandon(this);
      const text = `Connection gave no acknowledgement within ${timeoutMs}ms`;
      this.#fail(new IpcError('ERR_IPC_NOT_ACKNOWLEDGED', text), this.number > 0);
    }, timeoutMs);
    // The connection keeps the process alive as long as an acknowledgement can come.
    (this.#timer as { unref?: () => void }).unref?.();
  }

  acknowledged(level: SocketLevel): void {
    clearTimeout(this.#timer);
    release(this.body);
    this.#resolve({ level });
  }

  refused(error: IpcError): void {
    // Handled, but the consumer could not write that down.
    const isHandled = (error.cause as IpcError | undefined)?.code === 'ERR_IPC_NOT_RECORDED';
    this.#fail(error, isHandled);
  }

  lost(error: IpcError): void {
    this.#fail(error, this.number > 0);
  }

  #fail({ code, message, cause }: IpcError, indeterminate: boolean): void {
    clearTimeout(this.#timer);
    // It is not sent again, and may be known to its connection for long.
    release(this.body);
    this.#reject(new DeliveryError(code, message, { id: idText(this.id), indeterminate, cause }));
  }
}

/** The `id` that an error tells. */
export function idText(id: unknown): string | undefined {
  return typeof id === 'string' ? id : undefined;
}
