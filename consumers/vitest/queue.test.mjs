import * as ipc from '@flowtrace/ipc/features/sqlite-queue';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import * as z from 'zod';
import suite from '../suites/queue.cjs';

suite({ ipc, z, mock: vi, describe, test, expect, beforeEach, afterEach });
