// The npm package zeromq (libzmq, with an I/O thread of its own) over its `ipc://` transport. One
// send of a socket may be under way at a time, so sends wait for each other.
import { peer } from '../lib/peers.mjs';

export async function listen(socketPath, { onMessage, onRequest }) {
  const { Pull, Router } = await peer('zeromq');
  const socket = onRequest ? new Router() : new Pull();
  await socket.bind(`ipc://${socketPath}`);
  if (onRequest) serve(socket, onRequest);
  else receive(socket, onMessage);
}

async function receive(socket, onMessage) {
  for await (const [body] of socket) onMessage(JSON.parse(body.toString()));
}

async function serve(socket, onRequest) {
  const send = oneByOne(socket);
  for await (const [client, body] of socket) {
    const message = JSON.parse(body.toString());
    onRequest(message).then((result) =>
      send([client, JSON.stringify({ id: message.id, ...result })]),
    );
  }
}

export async function connect(socketPath, _dbPath, kind) {
  const { Dealer, Push } = await peer('zeromq');
  const socket = kind === 'request' ? new Dealer() : new Push();
  socket.connect(`ipc://${socketPath}`);
  const waiting = new Map();
  const send = oneByOne(socket);
  if (kind === 'request') {
    (async () => {
      for await (const [body] of socket) {
        const reply = JSON.parse(body.toString());
        waiting.get(reply.id)?.(reply);
        waiting.delete(reply.id);
      }
    })();
  }
  return {
    send: (message) => send(JSON.stringify(message)),
    request(message) {
      const reply = new Promise((resolve) => waiting.set(message.id, resolve));
      return send(JSON.stringify(message)).then(() => reply);
    },
  };
}

function oneByOne(socket) {
  let last = Promise.resolve();
  return (message) => {
    last = last.then(() => socket.send(message));
    return last;
  };
}
