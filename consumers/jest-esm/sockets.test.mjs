import * as ipc from '@flowtrace/ipc/features/unix-socket';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import suite from '../suites/sockets.cjs';

suite({ ipc, mock: jest, describe, test, expect, beforeEach, afterEach });
