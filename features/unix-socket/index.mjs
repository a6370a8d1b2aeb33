import esm from '../../dist/esm.js';

export const { IpcError, UnixSocketClient, UnixSocketServer } = esm.core();
