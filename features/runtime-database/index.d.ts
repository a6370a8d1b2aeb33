/// <reference lib="esnext.disposable" />
export * from '../../dist/runtime-database.js';
