import * as ipc from '@flowtrace/ipc/features/sqlite-queue';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import * as z from 'zod';
import suite from '../suites/queue.cjs';

suite({ ipc, z, mock: jest, describe, test, expect, beforeEach, afterEach });
