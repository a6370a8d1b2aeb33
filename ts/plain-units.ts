/** Units that stand for themselves in a JSON text and are one byte long: 1, else 0 or nothing. */
export const IS_PLAIN = new Uint8Array(128);
IS_PLAIN.fill(1, 0x20, 0x7f);
IS_PLAIN[0x22] = 0;
IS_PLAIN[0x5c] = 0;
