/// <reference lib="esnext.disposable" />
export * from './dist/root.js';
