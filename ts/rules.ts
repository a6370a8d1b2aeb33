import { addon } from './native.js';
import type { RuleTable } from './validation.js';

/** The rules of all schemas, as the Rust core has them. */
export const rules: RuleTable = JSON.parse(addon.rules()) as RuleTable;
