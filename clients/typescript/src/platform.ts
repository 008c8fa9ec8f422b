import type { Address } from "./address.js";
import type { RollcallError } from "./errors.js";

// What the core needs of the system that it runs on. node.ts and browser.ts have one each, and the tests another.

/** Transport is one connection. After close it calls no event any more. */
export interface Transport {
  /** write queues bytes, which are not changed afterwards. */
  write(bytes: Uint8Array): void;
  /** How many bytes are queued. */
  readonly buffered: number;
  /** end sends what is queued and ends this side: the event ended comes when the other side has ended too. */
  end(): void;
  /** close ends the connection without waiting for the other side. */
  close(): void;
  /** pause stops the event data until resume. A transport that cannot do that has neither. */
  pause?(): void;
  resume?(): void;
}

/** TransportEvents are what a transport tells its user. */
export interface TransportEvents {
  /** data brings bytes, which may change after the call. */
  data(bytes: Uint8Array): void;
  /** drained says that a good part of what was queued has gone out. */
  drained(): void;
  /**
   * ended says that no more comes. It is the last event. With an error that is the reason; otherwise the stream ended without one.
   */
  ended(error?: RollcallError): void;
}

/** Clock is the time. */
export interface Clock {
  /** The time since some moment, in milliseconds; it does not go back. */
  now(): number;
  /** timer calls f after so many milliseconds, and returns a function that prevents it. */
  timer(ms: number, f: () => void): () => void;
}

/** PageEvents are what a browser tells of its page. */
export interface PageEvents {
  /** wake says that the page is visible again, or has a network again, or was thawed. */
  wake(): void;
  /** leave says that the page is left, and perhaps kept to be shown again. */
  leave(): void;
  /** back says that a page that was left is shown again. */
  back(): void;
}

/** Platform is the system. Secrets are in none of its errors. */
export interface Platform {
  readonly clock: Clock;
  /** defer calls f soon, after all that waits to run without a timer, promises included. */
  defer(f: () => void): void;
  /** random returns a number from 0 to less than 1. */
  random(): number;
  /** visible is false in a page that a browser hides: it sends a heartbeat a minute, and does not take the server for gone. */
  visible(): boolean;
  /** watch begins to tell of the page, until the function that it returns is called. */
  watch(events: PageEvents): () => void;
  /** check throws a TypeError for an address that this system cannot connect to. */
  check(address: Address): void;
  /** open connects. It gives up when signal is aborted, and then throws its reason. Other errors are RollcallErrors. */
  open(address: Address, events: TransportEvents, signal: AbortSignal): Promise<Transport>;
}

/** LONGEST_TIMER is the most milliseconds that timers of JavaScript take. */
const LONGEST_TIMER = 0x7fffffff;

/** systemClock is the real time. */
export const systemClock: Clock = {
  now: () => performance.now(),
  timer(ms, f) {
    const id = setTimeout(f, Math.min(Math.max(ms, 0), LONGEST_TIMER));
    return () => clearTimeout(id);
  },
};
