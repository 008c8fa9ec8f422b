/** STANDSTILL is the least delay of a timer, in milliseconds, after which the program counts as having stood still. */
const STANDSTILL = 250;

/** HIDDEN is how often, in milliseconds, a hidden page sends something. It is less than a minute, which is how often browsers run its timers. */
const HIDDEN = 50_000;

/** What is due: a Heartbeat, one that the server must answer, or the end of a connection whose server is gone. */
export type Beat = "none" | "beat" | "ask" | "lost";

/** Pulse knows when a heartbeat is due, and when a server has been silent for too long. All times are in milliseconds of one clock. */
export class Pulse {
  /** When bytes were last sent. */
  sent: number;
  /** Whether the program itself does not read. That time does not count as the server's silence. */
  paused = false;
  readonly #interval: number;
  readonly #serverTimeout: number;
  readonly #askAfter: number;
  #heard: number;
  #asked: number;
  #due = Infinity;
  #resumed = -Infinity; // when the program went on after a standstill

  /** interval is the time between two signs of life. After serverTimeout without a byte the server is gone. */
  constructor(now: number, interval: number, serverTimeout: number) {
    this.sent = this.#heard = this.#asked = now;
    this.#interval = interval;
    this.#serverTimeout = serverTimeout;
    this.#askAfter = serverTimeout / 3;
  }

  /** hear notes that bytes have come. */
  hear(now: number): void {
    this.#heard = now;
  }

  /** asks notes that the server is asked to answer. */
  asks(now: number): void {
    this.#asked = now;
  }

  /** wait returns the time until the next beat is due. */
  wait(now: number): number {
    const ask = Math.max(this.#heardAt(now), this.#asked) + this.#askAfter;
    this.#due = Math.max(Math.min(this.sent + this.#interval, ask), now);
    return this.#due - now;
  }

  /** postpone puts the next beat off, because the page is hidden. What happens until then is no standstill. */
  postpone(now: number): number {
    this.#due = Infinity;
    this.#heard = now;
    return this.#interval;
  }

  /** hiddenBeat reports whether a hidden page is to send a heartbeat, so that the server sees that the page runs. */
  hiddenBeat(now: number): boolean {
    return now - this.sent >= Math.max(this.#interval, HIDDEN);
  }

  /**
   * beat returns what is due. A server that was asked much longer ago than it should have been is asked again: the program stood still, and
   * the answer may have come and be unread.
   */
  beat(now: number): Beat {
    if (now - this.#due >= STANDSTILL && now - this.#resumed >= this.#serverTimeout) {
      this.#resumed = now;
    }
    const heard = this.#heardAt(now);
    if (now - Math.max(heard, this.#asked) >= this.#askAfter) {
      if (now - heard >= this.#serverTimeout && now - this.#asked < 2 * this.#askAfter) {
        return "lost";
      }
      this.#asked = now;
      return "ask";
    }
    return now - this.sent >= this.#interval ? "beat" : "none";
  }

  /** heardAt returns when the server was last heard. After a standstill it has a third of its timeout left. */
  #heardAt(now: number): number {
    return this.paused ? now : Math.max(this.#heard, this.#resumed - 2 * this.#askAfter);
  }
}
