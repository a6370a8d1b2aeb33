// The npm package node-ipc. It has no promise and no back-pressure: a send counts as finished when
// the event loop has had a turn.
import { peer } from '../lib/peers.mjs';

async function instance() {
  const { IPCModule } = await peer('node-ipc');
  const ipc = new IPCModule();
  Object.assign(ipc.config, { silent: true, id: 'bench' });
  return ipc;
}

export async function listen(socketPath, { onMessage, onRequest }) {
  const ipc = await instance();
  await new Promise((resolve) => {
    ipc.serve(socketPath, () => {
      if (onMessage) ipc.server.on('message', onMessage);
      ipc.server.on('request', async (message, socket) => {
        ipc.server.emit(socket, 'reply', { id: message.id, ...(await onRequest(message)) });
      });
      resolve();
    });
    ipc.server.start();
  });
}

export async function connect(socketPath) {
  const ipc = await instance();
  const peerClient = await new Promise((resolve, reject) => {
    ipc.connectTo('server', socketPath, () => {
      ipc.of.server.on('connect', () => resolve(ipc.of.server));
      ipc.of.server.on('error', reject);
    });
  });
  const waiting = new Map();
  peerClient.on('reply', (reply) => {
    waiting.get(reply.id)?.(reply);
    waiting.delete(reply.id);
  });
  let turn;
  return {
    send(message) {
      peerClient.emit('message', message);
      turn ??= new Promise((resolve) => {
        setImmediate(() => {
          turn = undefined;
          resolve();
        });
      });
      return turn;
    },
    request(message) {
      return new Promise((resolve) => {
        waiting.set(message.id, resolve);
        peerClient.emit('request', message);
      });
    },
  };
}
