// The floor of a socket: bytes of a fixed length between two node:net sockets, without JSON, frames
// or promises.
import { connect as connectTo, createServer } from 'node:net';
import { now } from '../lib/clock.mjs';

/** Bytes of one message; the first eight are the time when it was sent. */
const BYTES = 200;

export function listen(socketPath, { onMessage, onRequest }) {
  const server = createServer((socket) => {
    socket.on('data', (chunk) => {
      if (onRequest) return socket.write(chunk);
      for (let at = 0; at + BYTES <= chunk.length; at += BYTES) {
        onMessage({ payload: { sentAt: chunk.readDoubleBE(at) } });
      }
    });
  });
  return new Promise((resolve) => server.listen(socketPath, resolve));
}

export function connect(socketPath) {
  const socket = connectTo(socketPath);
  const bytes = Buffer.alloc(BYTES);
  const client = {
    send() {
      bytes.writeDoubleBE(now(), 0);
      socket.write(Buffer.from(bytes));
    },
    request() {
      return new Promise((resolve) => {
        socket.once('data', resolve);
        socket.write(bytes);
      });
    },
  };
  return new Promise((resolve) => socket.once('connect', () => resolve(client)));
}
