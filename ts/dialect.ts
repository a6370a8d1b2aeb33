import type { NativeDialect } from './native.js';
import { dialectOf, type Zod } from './validation.js';

/**
 * How the service's zod judges, for a core that validates raw JSON. Loads zod, and only when it
 * is asked; which of zod's two builds is loaded makes no difference to its verdicts.
 */
export function dialectOfInstalledZod(): NativeDialect {
  return dialectOf(require('zod') as Zod);
}
