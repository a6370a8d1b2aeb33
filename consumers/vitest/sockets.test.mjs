import * as ipc from '@flowtrace/ipc/features/unix-socket';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import suite from '../suites/sockets.cjs';

suite({ ipc, mock: vi, describe, test, expect, beforeEach, afterEach });
