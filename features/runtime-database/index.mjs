import esm from '../../dist/esm.js';

export const { IpcError, RuntimeDatabase, RuntimeDatabasePoller } = esm.core();
