// What a service's suite of its socket code looks like. Every runner passes its own copy of the
// package and its own tools; `mock` is `jest` or `vi`, which agree on the methods used here.

const { connect: connectPlain } = require('node:net');
const { existsSync, mkdtempSync, rmSync, writeFileSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');

module.exports = ({ ipc, mock, describe, test, expect, beforeEach, afterEach }) => {
  const { IpcError, UnixSocketClient, UnixSocketServer } = ipc;

  let folder;
  let socketPath;
  let server;
  let client;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'ipc-'));
    socketPath = join(folder, 's');
    server = new UnixSocketServer({ socketPath });
    client = new UnixSocketClient({ socketPath, connectTimeout: 1000, reconnect: false });
  });

  afterEach(async () => {
    mock.useRealTimers();
    mock.restoreAllMocks();
    client.disconnect();
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  describe('delivery', () => {
    test('calls a mocked handler with what was sent', async () => {
      const handler = mock.fn().mockResolvedValue(undefined);
      const arrived = new Promise((resolve) => handler.mockImplementationOnce(resolve));
      server.setMessageHandler(handler);
      await server.start();
      await client.connect();
      const message = { type: 'candle:complete', payload: { close: 1.5, levels: [1, 2] } };
      await client.send({ ...message, dropped: undefined });
      await arrived;
      expect(handler).toHaveBeenCalledTimes(1);
      expect(handler).toHaveBeenCalledWith(message);
      // Objects of the test's own realm, so that strict equality holds prototypes to it too.
      expect(handler.mock.calls[0][0]).toStrictEqual(message);
      expect(handler.mock.calls[0][0]).toBeInstanceOf(Object);
      expect(handler.mock.calls[0][0].payload.levels).toBeInstanceOf(Array);
    });

    test('answers requests, and turns what a handler throws into a reply', async () => {
      mock.spyOn(console, 'error').mockImplementation(() => {});
      server.setRequestHandler(async ({ payload }) => {
        if (payload === 'bad') throw new Error('no such symbol');
        return { success: true, data: payload };
      });
      await server.start();
      await client.connect();
      await expect(client.request({ id: '1', payload: 7 })).resolves.toEqual({
        id: '1',
        success: true,
        data: 7,
      });
      await expect(client.request({ id: '2', payload: 'bad' })).resolves.toEqual({
        id: '2',
        success: false,
        error: 'no such symbol',
      });
      expect(console.error).toHaveBeenCalledTimes(1);
      expect(console.error.mock.calls[0][0]).toBeInstanceOf(Error);
    });

    test('serves a plain socket', async () => {
      server.setRequestHandler(() => ({ success: true }));
      await server.start();
      const plain = connectPlain(socketPath);
      const body = Buffer.from('{"id":"a"}');
      const header = Buffer.alloc(4);
      header.writeUInt32BE(body.length);
      plain.write(Buffer.concat([header, body]));
      const reply = await new Promise((resolve) => plain.once('data', resolve));
      plain.destroy();
      expect(reply.subarray(4).toString()).toBe('{"id":"a","success":true}');
    });

    test('goes on while every timer is faked', async () => {
      mock.useFakeTimers();
      const handler = mock.fn(() => ({ success: true }));
      server.setRequestHandler(handler);
      await server.start();
      await client.connect();
      await expect(client.request({ id: '1' })).resolves.toMatchObject({ success: true });
      const stopped = server.stop();
      client.disconnect();
      await stopped;
      expect(server.isListening()).toBe(false);
    });

    test('a request times out by the faked clock', async () => {
      mock.useFakeTimers();
      server.setRequestHandler(() => new Promise(() => {}));
      await server.start();
      await client.connect();
      const request = client.request({ id: '1' }, { timeoutMs: 30_000 });
      const refused = expect(request).rejects.toMatchObject({ code: 'ERR_IPC_REQUEST_TIMEOUT' });
      await mock.advanceTimersByTimeAsync(30_000);
      await refused;
      client.disconnect();
      await server.stop({ deadlineMs: 0 });
    });
  });

  describe('errors', () => {
    test('are Errors of the realm of the test, with the texts that services match', async () => {
      await expect(client.send({})).rejects.toThrow('Not connected');
      await expect(client.send({})).rejects.toThrow(IpcError);
      await expect(client.send({})).rejects.toBeInstanceOf(Error);
      await expect(client.connect()).rejects.toMatchObject({ name: 'IpcError', code: 'ENOENT' });
      const error = await client.connect().catch((error) => error);
      expect(error).toBeInstanceOf(Error);
      expect(error).toBeInstanceOf(IpcError);
      await server.start();
      await expect(server.start()).rejects.toThrow('Server is already listening');
      expect(() => new UnixSocketClient({})).toThrow(
        expect.objectContaining({ code: 'ERR_IPC_INVALID_ARGUMENT' }),
      );
    });

    test('leave a regular file at the path alone', async () => {
      writeFileSync(socketPath, 'data');
      await expect(server.start()).rejects.toMatchObject({ code: 'EADDRINUSE' });
      expect(existsSync(socketPath)).toBe(true);
    });

    test('reach listeners', async () => {
      const onError = mock.fn();
      server.on('error', onError);
      const failed = new Promise((resolve) => server.once('error', resolve));
      server.setMessageHandler(() => Promise.reject(new TypeError('broken')));
      await server.start();
      await client.connect();
      await client.send({ type: 'x' });
      await failed;
      expect(onError.mock.calls[0][0]).toBeInstanceOf(TypeError);
    });

    test('a client sees at once that its server is gone', async () => {
      await server.start();
      await client.connect();
      const gone = new Promise((resolve) => client.once('disconnect', resolve));
      await server.stop();
      await gone;
      expect(client.isConnected()).toBe(false);
      await expect(client.send({})).rejects.toThrow('Not connected');
    });
  });

  test('a mocked client stands in for a real one', async () => {
    const send = mock.spyOn(client, 'send').mockResolvedValue(undefined);
    mock.spyOn(client, 'isConnected').mockReturnValue(true);
    await client.send({ id: '1' });
    expect(client.isConnected()).toBe(true);
    expect(send).toHaveBeenCalledWith({ id: '1' });
    const reject = mock.spyOn(UnixSocketClient.prototype, 'connect');
    reject.mockRejectedValue(new Error('Connection timeout after 5000ms'));
    await expect(new UnixSocketClient({ socketPath }).connect()).rejects.toThrow('Connection');
  });
};
