import { EventEmitter, errorMonitor } from 'node:events';

/** Event names, each with the arguments that its listeners receive. */
export type EventMap<Events> = { [Name in keyof Events]: unknown[] };

// biome-ignore lint/suspicious/noExplicitAny: the type that every version of Node's types accepts.
type AnyListener = (...args: any[]) => void;

/**
 * The methods of Node's `EventEmitter`, typed by an event map. They are declared here, not taken
 * from `@types/node`, so that the package's declarations compile where those are not installed;
 * at run time the object is an `EventEmitter`.
 */
export interface TypedEvents<Events extends EventMap<Events>> {
  on<Name extends keyof Events>(event: Name, listener: (...args: Events[Name]) => void): this;
  once<Name extends keyof Events>(event: Name, listener: (...args: Events[Name]) => void): this;
  off<Name extends keyof Events>(event: Name, listener: (...args: Events[Name]) => void): this;
  addListener<Name extends keyof Events>(
    event: Name,
    listener: (...args: Events[Name]) => void,
  ): this;
  removeListener<Name extends keyof Events>(
    event: Name,
    listener: (...args: Events[Name]) => void,
  ): this;
  prependListener<Name extends keyof Events>(
    event: Name,
    listener: (...args: Events[Name]) => void,
  ): this;
  prependOnceListener<Name extends keyof Events>(
    event: Name,
    listener: (...args: Events[Name]) => void,
  ): this;
  removeAllListeners(event?: keyof Events): this;
  emit<Name extends keyof Events>(event: Name, ...args: Events[Name]): boolean;
  listenerCount(event: keyof Events): number;
  listeners(event: keyof Events): AnyListener[];
  rawListeners(event: keyof Events): AnyListener[];
  eventNames(): Array<string | symbol>;
  setMaxListeners(count: number): this;
  getMaxListeners(): number;
}

const Base = EventEmitter as unknown as new <
  Events extends EventMap<Events>,
>() => TypedEvents<Events>;

/**
 * An `EventEmitter` whose `error` event is an event like any other: when nobody listens,
 * `emit('error', …)` returns false instead of throwing.
 */
export class Emitter<Events extends EventMap<Events>> extends Base<Events> {
  override emit<Name extends keyof Events>(event: Name, ...args: Events[Name]): boolean {
    if (event === 'error' && this.listenerCount(event) === 0) {
      // `EventEmitter` would tell the monitors and then throw.
      (super.emit as (event: unknown, ...args: unknown[]) => boolean).call(
        this,
        errorMonitor,
        ...args,
      );
      return false;
    }
    return super.emit(event, ...args);
  }

  /**
   * `emit` for the package itself: an exception of a listener goes to the process, as it would
   * from `emit`, but does not interrupt what the package is doing.
   *
   * @internal
   */
  protected tell<Name extends keyof Events>(event: Name, ...args: Events[Name]): boolean {
    try {
      return this.emit(event, ...args);
    } catch (error) {
      queueMicrotask(() => {
        throw error;
      });
      return true;
    }
  }
}
