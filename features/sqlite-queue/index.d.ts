/// <reference lib="esnext.disposable" />
export * from '../../dist/sqlite-queue.js';
