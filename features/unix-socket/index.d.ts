/// <reference lib="esnext.disposable" />
export * from '../../dist/unix-socket.js';
