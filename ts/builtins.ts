// Modules of Node that take long to load, measured by this package, and that most processes never
// need: loaded when they are.

/** `node:crypto` */
export function nodeCrypto(): typeof import('node:crypto') {
  return require('node:crypto') as typeof import('node:crypto');
}

/** `node:os` */
export function nodeOs(): typeof import('node:os') {
  return require('node:os') as typeof import('node:os');
}

/** `node:worker_threads` */
export function workerThreads(): typeof import('node:worker_threads') {
  return require('node:worker_threads') as typeof import('node:worker_threads');
}
