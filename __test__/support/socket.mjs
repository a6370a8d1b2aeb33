// What the socket tests share: folders, frames, plain peers, child processes, and waiting for a
// condition instead of hoping for an order.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { UnixSocketClient, UnixSocketServer } from '../../features/unix-socket/index.js';

/** Whether the long form of the tests was asked for. */
export const isLong = process.env.FLOWTRACE_IPC_TEST === 'long';

const DEADLINE_MS = 20_000;

/** A folder of one test's own, and a function that names files in it. */
export function folder(t) {
  const path = mkdtempSync(join(tmpdir(), 'ipc-'));
  // What still runs is stopped after this, and may make a file meanwhile.
  t.after(() => rmSync(path, { recursive: true, force: true, maxRetries: 10, retryDelay: 20 }));
  return (name) => join(path, name);
}

/** Waits until `condition` holds and returns its value; fails at a deadline. */
export async function until(condition, what, deadlineMs = DEADLINE_MS) {
  const end = Date.now() + deadlineMs;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) throw new Error(`gave up waiting for: ${what}`);
    await delay(2);
  }
}

/** The promise, or an error when it takes too long. */
export async function within(promise, what, deadlineMs = DEADLINE_MS) {
  const stop = new AbortController();
  const late = delay(deadlineMs, undefined, { signal: stop.signal }).then(
    () => {
      throw new Error(`gave up waiting for: ${what}`);
    },
    () => {},
  );
  try {
    return await Promise.race([promise, late]);
  } finally {
    stop.abort();
  }
}

/** A promise and its outcome. */
export function deferred() {
  let resolve;
  let reject;
  const promise = new Promise((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  return { promise, resolve, reject };
}

/** The bytes of one frame. */
export function frame(body) {
  const bytes = Buffer.from(body);
  const header = Buffer.alloc(4);
  header.writeUInt32BE(bytes.length);
  return Buffer.concat([header, bytes]);
}

/** The frame of a value. */
export function json(value) {
  return frame(JSON.stringify(value));
}

/** Collects the frames that arrive at a plain socket, as texts. */
export function collect(socket) {
  const frames = [];
  let buffer = Buffer.alloc(0);
  socket.on('data', (chunk) => {
    buffer = Buffer.concat([buffer, chunk]);
    while (buffer.length >= 4 && buffer.length >= 4 + buffer.readUInt32BE(0)) {
      const end = 4 + buffer.readUInt32BE(0);
      frames.push(buffer.toString('utf8', 4, end));
      buffer = buffer.subarray(end);
    }
  });
  return frames;
}

/** A plain `node:net` client. */
export async function plainClient(t, path, options = {}) {
  const socket = net.connect({ path, ...options });
  const frames = collect(socket);
  const peer = { socket, frames, closed: false, error: undefined };
  socket.on('error', (error) => {
    peer.error = error;
  });
  socket.on('close', () => {
    peer.closed = true;
  });
  t.after(() => socket.destroy());
  await once(socket, 'connect');
  return peer;
}

/** A plain `node:net` server, with the sockets and frames it has seen. */
export async function plainServer(t, path, onFrame) {
  const peers = [];
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {});
    peers.push({ socket, frames: collect(socket) });
    if (onFrame !== undefined) onFrame(socket);
  });
  server.listen(path);
  await once(server, 'listening');
  t.after(() => {
    for (const { socket } of peers) socket.destroy();
    server.close();
  });
  return { server, peers };
}

/**
 * A server of the original package, with the texts of the frames that it read; it replies if `answer`
 * returns something.
 */
export async function oldServer(t, { socketPath }, answer = () => undefined) {
  const texts = [];
  await plainServer(t, socketPath, (socket) => {
    const frames = collect(socket);
    socket.on('data', () => {
      for (const text of frames.splice(0)) {
        texts.push(text);
        const reply = answer(JSON.parse(text));
        if (reply !== undefined) socket.write(json(reply));
      }
    });
  });
  return texts;
}

/** A server of ours that listens, with the errors it told. */
export async function listen(t, options) {
  const server = new UnixSocketServer(options);
  const errors = [];
  server.on('error', (error) => errors.push(error));
  t.after(() => server.stop({ deadlineMs: 0 }));
  await server.start();
  return { server, errors };
}

/** A client of ours that is connected, with the messages and errors it told. */
export async function connected(t, options) {
  const client = new UnixSocketClient({ reconnect: false, ...options });
  t.after(() => client.disconnect());
  const messages = [];
  const errors = [];
  client.on('message', (message) => messages.push(message));
  client.on('error', (error) => errors.push(error));
  await client.connect();
  return { client, messages, errors };
}

/** Runs a script of the fixtures; what it prints arrives as lines. */
export function child(t, script, args = [], { nodeArgs = [], env, command } = {}) {
  const path = fileURLToPath(new URL(`../fixtures/${script}`, import.meta.url));
  const argv = [...nodeArgs, path, ...args.map((arg) => String(arg))];
  const [file, ...front] = command ?? [process.execPath];
  const running = spawn(file, [...front, ...argv], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
  });
  const lines = [];
  let rest = '';
  let stderr = '';
  running.stdout.setEncoding('utf8').on('data', (text) => {
    const parts = (rest + text).split('\n');
    rest = parts.pop();
    lines.push(...parts);
  });
  running.stderr.setEncoding('utf8').on('data', (text) => {
    stderr += text;
  });
  const exit = new Promise((resolve) => {
    running.on('close', (code, signal) => resolve({ code, signal, stderr }));
  });
  t.after(() => running.kill('SIGKILL'));
  const line = (expected, deadlineMs) =>
    until(
      () => {
        const found = lines.find((text) => text.startsWith(expected));
        if (found === undefined && running.exitCode !== null) {
          throw new Error(`the child ended with ${running.exitCode}: ${stderr}`);
        }
        return found;
      },
      `the child to print ${expected}`,
      deadlineMs,
    );
  return { process: running, lines, line, exit };
}

/** Reproducible random numbers (mulberry32). */
export function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
