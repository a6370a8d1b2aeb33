import * as ipc from '@flowtrace/ipc';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import * as z from 'zod';
import suite from '../suites/runtime.cjs';

suite({ ipc, z, mock: vi, describe, test, expect, beforeEach, afterEach });
