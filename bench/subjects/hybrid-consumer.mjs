// Both channels of the package with `publish` on one side and a consumer on the other.
import { createRequire } from 'node:module';
import { entry } from './hybrid.mjs';

export { connect } from './hybrid.mjs';

export async function listen(socketPath, { onMessage }, dbPath) {
  const { HybridConsumer } = createRequire(import.meta.url)(entry);
  await new HybridConsumer({ socketPath, dbPath, onMessage }).start();
}
