// What peers may cost: hostile frames, peers that do not read, handlers in flight, descriptors.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  child,
  connected,
  deferred,
  folder,
  frame,
  json,
  listen,
  plainClient,
  plainServer,
  random,
  until,
  within,
} from './support/socket.mjs';

/** A server that echoes, and a well-behaved client that must not notice anything. */
async function guarded(t, options = {}) {
  const path = folder(t)('ipc.sock');
  const { server, errors } = await listen(t, { socketPath: path, ...options });
  server.setRequestHandler((message) => ({ echo: message }));
  const { client } = await connected(t, { socketPath: path });
  const unharmed = async () => {
    const { echo } = await within(client.request({ n: 1 }), 'the well-behaved client', 5_000);
    assert.equal(echo.n, 1);
  };
  return { path, server, errors, unharmed };
}

const codes = (errors) => errors.map(({ code }) => code);

test('a length beyond maxFrameBytes closes the connection with a typed error', async (t) => {
  const { path, server, errors, unharmed } = await guarded(t, { maxFrameBytes: 1_000 });
  const cases = [
    Buffer.from([0xff, 0xff, 0xff, 0xff]),
    Buffer.from([0x80, 0, 0, 0]),
    Buffer.from([0, 0, 3, 0xe9]),
    Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'),
    Buffer.from('{"id":1}\n'),
    Buffer.concat([json({ id: 1 }), Buffer.from('garbage')]),
  ];
  for (const [index, bytes] of cases.entries()) {
    const peer = await plainClient(t, path);
    peer.socket.write(bytes);
    await until(() => peer.closed, `case ${index} to be closed`);
    await until(() => errors.length === index + 1, 'the error');
    assert.equal(errors[index].code, 'ERR_IPC_FRAME_TOO_LARGE');
    assert.match(errors[index].message, /maxFrameBytes \(1000\)/);
    await unharmed();
  }
  const good = await plainClient(t, path);
  good.socket.write(json('x'.repeat(998)));
  await until(() => server.stats().messagesReceived === 8, 'the longest frame');
  assert.equal(good.closed, false);
});

test('random garbage harms nobody', async (t) => {
  const { path, server, unharmed } = await guarded(t, { maxFrameBytes: 4_096 });
  const next = random(7);
  for (let round = 0; round < 100; round++) {
    const peer = await plainClient(t, path);
    const bytes = Buffer.from({ length: Math.floor(next() * 500) }, () => 0);
    for (let at = 0; at < bytes.length; at++) {
      // Small lengths often enough that bodies are looked at too.
      bytes[at] = next() < 0.5 ? Math.floor(next() * 4) : Math.floor(next() * 256);
    }
    peer.socket.end(bytes);
    await until(() => peer.closed, 'the end');
  }
  await unharmed();
  assert.equal(server.stats().connections, 1);
  assert.equal(server.stats().inFlight, 0);
});

test('bad frames are told one by one, and good ones between them arrive', async (t) => {
  const { path, server, errors, unharmed } = await guarded(t);
  const received = [];
  server.setMessageHandler(() => {});
  server.setRequestHandler((message) => void received.push(message));
  const peer = await plainClient(t, path);
  const bad = [
    '',
    ' ',
    '1,2',
    '[1',
    ']',
    '1],[2',
    '{',
    '}',
    '"',
    '"a',
    'b"',
    'nul',
    '01',
    '1.',
    "'a'",
    '{"a":1,}',
    '[1,]',
    '1 2',
    '\ufeff1',
    '\0',
    '{"a":1}x',
    'undefined',
    'NaN',
    '//',
    '/*',
    '*/',
    '[1,2',
    '3,4]',
    '"x,1',
    '1,"y',
    Buffer.from([0xff]),
    Buffer.from([0x22, 0xc3, 0x22]),
    Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22]),
    Buffer.from([0x22, 0xc0, 0x80, 0x22]),
  ];
  const next = random(11);
  let good = 0;
  let faults = 0;
  for (let round = 0; round < 30; round++) {
    const wire = [];
    const expected = [];
    for (const body of bad) {
      while (next() < 0.3) {
        wire.push(json({ n: good }));
        expected.push({ n: good++ });
      }
      // In some rounds only neighbours of the good ones are bad in a way that parses together.
      if (round > 0 && next() < 0.6) continue;
      wire.push(frame(body));
      faults++;
    }
    received.length = 0;
    peer.socket.write(Buffer.concat(wire));
    await until(() => received.length === expected.length, `the good frames of round ${round}`);
    assert.deepEqual(received, expected);
  }
  await until(() => errors.length === faults, 'all errors');
  assert.equal(server.stats().malformed, faults);
  assert.ok(errors.every(({ code }) => code === 'ERR_IPC_MALFORMED_FRAME'));
  assert.equal(peer.closed, false);
  server.setRequestHandler(() => ({ echo: { n: 1 } }));
  await unharmed();
});

test('a client survives the same frames from its server', async (t) => {
  const path = folder(t)('ipc.sock');
  const { peers } = await plainServer(t, path);
  const { client, messages, errors } = await connected(t, { socketPath: path, maxFrameBytes: 100 });
  await until(() => peers.length === 1, 'the connection');
  const bodies = ['1,2', '{"n":1}', '', '[1', ']', Buffer.from([0xff]), '{"n":2}', '1],[2', 'null'];
  peers[0].socket.write(Buffer.concat(bodies.map((body) => frame(body))));
  await until(() => messages.length === 3, 'the good ones');
  assert.deepEqual(messages, [{ n: 1 }, { n: 2 }, null]);
  assert.deepEqual(codes(errors), Array(6).fill('ERR_IPC_MALFORMED_FRAME'));
  const lost = new Promise((resolve) => void client.once('disconnect', resolve));
  peers[0].socket.write(Buffer.from([0, 0, 1, 0]));
  assert.equal((await lost).code, 'ERR_IPC_FRAME_TOO_LARGE');
  assert.equal(client.isConnected(), false);
});

test('a frame that does not come to its end is cut at frameTimeoutMs', async (t) => {
  const { path, errors, unharmed } = await guarded(t, { frameTimeoutMs: 150 });
  const text = json({ id: 1 });
  for (const part of [1, 3, 4, text.length - 1]) {
    errors.length = 0;
    const peer = await plainClient(t, path);
    peer.socket.write(Buffer.concat([text, text.subarray(0, part)]));
    await until(() => peer.closed, `the cut after ${part} bytes`);
    assert.equal(peer.frames.length, 1);
    assert.deepEqual(codes(errors), ['ERR_IPC_FRAME_TIMEOUT']);
  }
  // One byte at a time does not put the end off.
  errors.length = 0;
  const slow = await plainClient(t, path);
  const long = json({ text: 'x'.repeat(100_000) });
  let at = 0;
  await until(() => {
    if (!slow.closed) slow.socket.write(long.subarray(at, ++at));
    return slow.closed;
  }, 'the cut of the slow one');
  assert.ok(at < long.length);
  assert.deepEqual(codes(errors), ['ERR_IPC_FRAME_TIMEOUT']);
  // Whoever is silent between frames may stay.
  const silent = await plainClient(t, path);
  const started = performance.now();
  await until(() => performance.now() - started > 400, 'the time to pass');
  assert.equal(silent.closed, false);
  await unharmed();
});

test('a slow client costs at most maxOutboundBytes, and is then cut', async (t) => {
  const limit = 2_000_000;
  const { path, server, errors, unharmed } = await guarded(t, { maxOutboundBytes: limit });
  const deaf = await plainClient(t, path);
  deaf.socket.pause();
  const text = 'x'.repeat(100_000);
  server.setRequestHandler(({ n }) => ({ text: n === undefined ? text : '', echo: { n } }));
  let most = 0;
  for (let id = 1; id <= 100 && errors.length === 0; id++) {
    deaf.socket.write(json({ id }));
    await until(() => server.stats().messagesReceived === id || errors.length > 0, 'a request');
    most = Math.max(most, server.stats().outboundBytes);
  }
  assert.ok(most > 0 && most <= limit, `${most} bytes waited`);
  assert.deepEqual(codes(errors), ['ERR_IPC_OUTBOUND_FULL']);
  await until(() => server.stats().connections === 1, 'the cut');
  assert.equal(server.stats().outboundBytes, 0);
  await unharmed();

  // One that is slow, but reads, gets everything.
  const slow = await plainClient(t, path);
  slow.socket.pause();
  for (let id = 1; id <= 15; id++) slow.socket.write(json({ id }));
  await until(() => server.stats().outboundBytes > 0, 'replies that wait');
  slow.socket.resume();
  await until(() => slow.frames.length === 15, 'all replies');
  await until(() => server.stats().outboundBytes === 0, 'nothing to wait');
});

test('a reply beyond maxOutboundBytes becomes an error reply', async (t) => {
  const { path, server, errors } = await guarded(t, { maxOutboundBytes: 10_000 });
  server.setRequestHandler(() => ({ text: 'x'.repeat(10_000) }));
  const { client } = await connected(t, { socketPath: path });
  const reply = await client.request({});
  assert.equal(reply.success, false);
  assert.deepEqual(codes(errors), ['ERR_IPC_FRAME_TOO_LARGE']);
});

for (const { highWaterMark, concurrency, clients } of [
  { highWaterMark: 1, concurrency: undefined, clients: 1 },
  { highWaterMark: 7, concurrency: undefined, clients: 3 },
  { highWaterMark: 8, concurrency: 3, clients: 3 },
  { highWaterMark: 2, concurrency: 5, clients: 2 },
  { highWaterMark: 1_000, concurrency: 1, clients: 2 },
]) {
  const name = `highWaterMark ${highWaterMark}, concurrency ${concurrency}, ${clients} clients`;
  test(`handlers in flight are bounded exactly: ${name}`, async (t) => {
    const path = folder(t)('ipc.sock');
    const { server } = await listen(t, { socketPath: path, highWaterMark, concurrency });
    const gates = [];
    const order = new Map();
    let running = 0;
    let most = 0;
    server.setRequestHandler(async ({ client, n }) => {
      order.set(client, [...(order.get(client) ?? []), n]);
      running++;
      most = Math.max(most, running);
      assert.ok(server.stats().inFlight <= highWaterMark);
      const gate = deferred();
      gates.push(gate);
      await gate.promise;
      running--;
    });
    const each = 40;
    const bound = Math.min(highWaterMark, concurrency ?? highWaterMark);
    const peers = [];
    for (let client = 0; client < clients; client++) {
      const peer = await plainClient(t, path);
      peers.push(peer);
      peer.socket.write(Buffer.concat(Array.from({ length: each }, (_, n) => json({ client, n }))));
    }
    let done = 0;
    while (done < each * clients) {
      const expected = Math.min(bound, each * clients - done);
      await until(() => running === expected && gates.length === expected, `${expected} handlers`);
      if (done === 0 && highWaterMark < each) {
        await until(() => server.stats().stalledConnections === clients, 'reading to pause');
      }
      // By turns the oldest, the newest, and all of them.
      const ended =
        done % 3 === 0 ? [gates.shift()] : done % 3 === 1 ? [gates.pop()] : gates.splice(0);
      for (const gate of ended) gate.resolve();
      done += ended.length;
    }
    await until(() => server.stats().inFlight === 0, 'the end');
    assert.equal(most, bound);
    for (let client = 0; client < clients; client++) {
      assert.deepEqual(
        order.get(client),
        Array.from({ length: each }, (_, n) => n),
      );
    }
    assert.equal(server.stats().stalledConnections, 0);
    assert.ok(peers.every(({ closed }) => !closed));
  });
}

test('a stalled server takes no more than the kernel holds', async (t) => {
  const path = folder(t)('ipc.sock');
  const { server } = await listen(t, { socketPath: path, highWaterMark: 1 });
  const gate = deferred();
  let handled = 0;
  server.setMessageHandler(() => {
    handled++;
    return gate.promise;
  });
  const { client } = await connected(t, { socketPath: path });
  const text = 'x'.repeat(50_000);
  const sends = [];
  for (let n = 0; n < 200; n++) {
    sends.push(client.send({ n, text }));
    await null;
  }
  await until(() => server.stats().stalledConnections === 1, 'reading to pause');
  const { bytesReceived } = server.stats();
  await until(() => client.stats().outboundBytes > 0, 'bytes that wait in the client');
  assert.ok(bytesReceived < 2_000_000, `${bytesReceived} bytes were read`);
  gate.resolve();
  await Promise.all(sends);
  await until(() => handled === 200, 'all to be handled');
});

test('a client that disconnects while its messages are stalled loses none of them', async (t) => {
  const path = folder(t)('ipc.sock');
  const { server } = await listen(t, { socketPath: path, highWaterMark: 2 });
  const gate = deferred();
  const seen = [];
  server.setMessageHandler(async ({ n }) => {
    seen.push(n);
    await gate.promise;
  });
  const peer = await plainClient(t, path);
  const wire = Buffer.concat(Array.from({ length: 500 }, (_, n) => json({ n })));
  await new Promise((resolve) => void peer.socket.write(wire, resolve));
  await until(() => server.stats().stalledConnections === 1, 'reading to pause');
  peer.socket.destroy();
  await until(() => peer.closed, 'the client to be gone');
  gate.resolve();
  await until(() => server.stats().connections === 0, 'the connection to end');
  assert.deepEqual(
    seen,
    Array.from({ length: 500 }, (_, n) => n),
  );
});

test('a server without descriptors waits instead of spinning, and recovers', async (t) => {
  const path = folder(t)('ipc.sock');
  const remote = child(t, 'socket-starved.mjs', [path], {
    command: ['sh', '-c', 'ulimit -n 64; exec "$@"', 'sh', process.execPath],
  });
  await remote.line('starved');
  const sockets = [];
  for (let n = 0; n < 5; n++) sockets.push(await plainClient(t, path));
  sockets[0].socket.write(json({ id: 1 }));
  const [, cpuMs, failures] = (await remote.line('waited')).split(' ').map(Number);
  assert.ok(cpuMs < 500, `${cpuMs} ms of CPU in a second`);
  assert.ok(failures >= 1 && failures <= 30, `${failures} failures told`);
  remote.process.stdin.write('free\n');
  await until(() => sockets[0].frames.length === 1, 'the reply');
});
