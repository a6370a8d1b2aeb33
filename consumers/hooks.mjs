// Loaded before an example runs. `later()` stands where the example leaves time to pass: it lasts
// until the test ends the example's input.
globalThis.later = () => {
  console.log('later');
  return new Promise((resolve) => process.stdin.once('end', resolve).resume());
};

const dbPath = process.env.EXAMPLE_QUEUE;
if (dbPath !== undefined) {
  const { SQLiteQueue } = await import('@flowtrace/ipc');
  const queue = new SQLiteQueue({ dbPath });
  queue.enqueue({ id: 'msg-1', type: 'test', payload: {}, timestamp: Date.now() });
  queue.close();
}
