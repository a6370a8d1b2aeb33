// All scenarios, in the order of the report.
import { scenario as backlog } from './backlog.mjs';
import { scenario as connections } from './connections.mjs';
import { scenario as dequeue } from './dequeue.mjs';
import { scenario as drainers } from './drainers.mjs';
import { scenario as enqueue } from './enqueue.mjs';
import { scenario as enqueueBatch } from './enqueue-batch.mjs';
import { scenario as hybrid } from './hybrid.mjs';
import { scenario as idle } from './idle.mjs';
import { scenario as latency } from './latency.mjs';
import { scenario as load } from './load.mjs';
import { scenario as request } from './request.mjs';
import { scenario as sizes } from './sizes.mjs';
import { scenario as throughput } from './throughput.mjs';
import { scenario as validate } from './validate.mjs';

export const scenarios = [
  throughput,
  latency,
  request,
  connections,
  hybrid,
  enqueue,
  enqueueBatch,
  dequeue,
  backlog,
  drainers,
  validate,
  load,
  idle,
  sizes,
];
