import * as ipc from '@flowtrace/ipc';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import * as z from 'zod';
import suite from '../suites/runtime.cjs';

suite({ ipc, z, mock: jest, describe, test, expect, beforeEach, afterEach });
