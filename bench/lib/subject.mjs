// How children load a subject, and send in windows.

/** The module of a subject. */
export const subject = (name) => import(new URL(`../subjects/${name}.mjs`, import.meta.url));

/** Messages whose sends are awaited together. */
export const WINDOW = 256;

/** Sends `count` messages of a pool, in windows that are awaited. */
export async function sendWindows(client, messages, count, size = WINDOW) {
  const window = [];
  for (let sent = 0; sent < count; ) {
    const end = Math.min(count, sent + size);
    for (; sent < end; sent++) window.push(client.send(messages[sent % messages.length]));
    await Promise.all(window);
    window.length = 0;
  }
}
