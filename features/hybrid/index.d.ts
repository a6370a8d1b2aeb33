/// <reference lib="esnext.disposable" />
export * from '../../dist/hybrid.js';
