// Both channels of the package behind one `publish`.
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { root } from '../../scripts/tools.mjs';

export const entry = join(root, 'features', 'hybrid', 'index.js');

/** Why it cannot be measured, if so. */
export function unavailable() {
  return existsSync(entry) ? undefined : 'features/hybrid is not in this checkout';
}

export { listen } from './ours.mjs';

export async function connect(socketPath, dbPath) {
  const { HybridPublisher } = createRequire(import.meta.url)(entry);
  const publisher = new HybridPublisher({ socketPath, dbPath });
  return {
    send: (message) => publisher.publish(message),
    /** Messages that took the queue because the socket did not answer in time. */
    stored: () => publisher.stats().viaQueue,
  };
}
