import esm from '../../dist/esm.js';

export const { DeliveryError, IpcError, UnixSocketClient, UnixSocketServer } = esm.core();
