import * as ipc from '@flowtrace/ipc/features/sqlite-queue';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import suite from '../suites/poller.cjs';

suite({ ipc, mock: vi, describe, test, expect, beforeEach, afterEach });
