// The sender's choice of channel: the socket while it answers, else the queue.
import { SQLiteQueue, UnixSocketClient } from '@flowtrace/ipc';

/** A healthy persistence process answers within milliseconds. */
const REPLY_TIMEOUT_MS = 2_000;

/** Short, because candles that take the queue meanwhile cost a disk write each. */
const RECONNECT_DELAY_MS = 50;
const RECONNECT_DELAY_MS_MAX = 500;

export class Channel {
  #client;
  #queue;
  /** Times that the connection was lost. */
  failovers = 0;

  constructor({ socketPath, dbPath }) {
    this.#client = new UnixSocketClient({
      socketPath,
      reconnectDelay: RECONNECT_DELAY_MS,
      maxReconnectDelay: RECONNECT_DELAY_MS_MAX,
    });
    this.#client.on('disconnect', (error) => {
      // Without an error it was our own `close()`.
      if (error !== undefined) this.failovers++;
    });
    this.#queue = new SQLiteQueue({ dbPath });
  }

  /** From here on the client connects again by itself whenever the connection is lost. */
  open() {
    return this.#client.connect();
  }

  /**
   * Resolves with the channel that took the message: handled by the persistence process
   * (`socket`), or safe on the disk (`queue`).
   *
   * When the reply to a request is lost, nobody here knows whether the message was handled. It is
   * stored under the same id then, so that the receiver can drop the copy.
   */
  async deliver(message) {
    if (await this.#handled(message)) return 'socket';
    await this.#queue.enqueueAsync(message);
    return 'queue';
  }

  async #handled(message) {
    if (!this.#client.isConnected()) return false;
    try {
      const reply = await this.#client.request(message, { timeoutMs: REPLY_TIMEOUT_MS });
      return reply.success === true;
    } catch {
      return false;
    }
  }

  async close() {
    await this.#client.close();
    this.#queue.close();
  }
}
