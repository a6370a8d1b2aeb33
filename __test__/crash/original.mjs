// What the original package did, in short: a send resolves when its bytes are with the kernel, a
// server tells nobody what became of a message, and a poller reads without claiming.
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import net from 'node:net';
import { collect, json } from '../support/socket.mjs';

export class OriginalClient {
  #socket;

  async connect(path) {
    this.#socket = net.connect(path);
    this.#socket.on('error', () => {});
    await once(this.#socket, 'connect');
  }

  send(message) {
    return new Promise((resolve, reject) => {
      this.#socket.write(json(message), (error) => (error ? reject(error) : resolve()));
    });
  }

  close() {
    this.#socket.destroy();
  }
}

export class OriginalServer {
  #server = net.createServer();

  async listen(path, onMessage) {
    this.#server.on('connection', (socket) => {
      socket.on('error', () => {});
      const frames = collect(socket);
      socket.on('data', () => {
        for (const text of frames.splice(0)) onMessage(JSON.parse(text));
      });
    });
    // Whatever is there, and whoever it belongs to.
    rmSync(path, { force: true });
    this.#server.listen(path);
    await once(this.#server, 'listening');
  }
}

/** One round of the original's poller; how many messages it found. */
export async function pollOnce(queue, limit, onMessage) {
  const messages = queue.dequeue(limit);
  for (const message of messages) {
    await onMessage(message);
    queue.markProcessed(message.id);
  }
  return messages.length;
}
