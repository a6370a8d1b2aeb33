import * as ipc from '@flowtrace/ipc/features/sqlite-queue';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import suite from '../suites/poller.cjs';

suite({ ipc, mock: jest, describe, test, expect, beforeEach, afterEach });
