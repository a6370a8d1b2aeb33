/** Longest sequence of bytes that one UTF-16 unit can become. */
const BYTES_PER_UNIT = 3;

/** Whether `text` has at most so many bytes as UTF-8. Short texts are not counted. */
export function utf8Fits(text: string, bytesMax: number): boolean {
  return text.length * BYTES_PER_UNIT <= bytesMax || Buffer.byteLength(text) <= bytesMax;
}
