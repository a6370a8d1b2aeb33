// What the programs under test write down, and the messages that they publish.
import { digest, Ledger, now } from '../../examples/demo/ledger.mjs';
import { random } from '../support/socket.mjs';

const PIECES = [
  'plain ',
  '"quoted" ',
  'back\\slash ',
  'ünïcode ',
  '\u{1f56f} ',
  '\n\t',
  '{"$ipc":1} ',
];

/** The message of an id: always the same, so that a later life can publish it again. */
export function messageOf(id, { bytes = 200 } = {}) {
  let hash = 0x811c9dc5;
  for (const character of id) hash = Math.imul(hash ^ character.charCodeAt(0), 0x01000193);
  const next = random(hash);
  let text = '';
  while (text.length < bytes) text += PIECES[Math.floor(next() * PIECES.length)];
  const payload = { id, price: next() * 100_000, text };
  return { id, type: 'crash', payload, timestamp: 1 + Math.floor(next() * 2 ** 40) };
}

/** By which the content of a message is known again, whatever became of its keys' order. */
export function contentOf({ type, payload, timestamp }) {
  return digestOf(type, JSON.stringify(payload), timestamp);
}

/** The same of a row, which has its payload as text. */
export function digestOf(type, payload, timestamp) {
  return digest(`${type} ${timestamp} ${payload}`);
}

/** The ledger of a publisher; the head of `oracle.mjs` says what is in it. */
export class PublisherLedger {
  #ledger;

  constructor(path) {
    this.#ledger = new Ledger(path);
  }

  intent(message) {
    this.#append('intent', message.id, { digest: contentOf(message) });
  }

  accepted(id, { via, level }) {
    this.#append('accepted', id, { via, level });
  }

  rejected(id, { code, indeterminate }) {
    this.#append('rejected', id, { code, indeterminate });
  }

  #append(kind, id, more) {
    this.#ledger.append({ kind, id, at: now(), ...more });
  }
}

/** The ledger of a handler. */
export class HandlerLedger {
  #ledger;

  constructor(path) {
    this.#ledger = new Ledger(path);
  }

  handled(message, { via, attempt }) {
    this.#append('handled', message.id, { digest: contentOf(message), via, attempt });
  }

  /** What the queue said to the completion of a claim. */
  settled(id, isCompleted) {
    this.#append(isCompleted ? 'completed' : 'stale', id);
  }

  #append(kind, id, more) {
    this.#ledger.append({ kind, id, at: now(), pid: process.pid, ...more });
  }
}
