/** MAX_EXPONENT bounds the doublings, however often attempts fail. */
const MAX_EXPONENT = 8;

/**
 * Backoff is the wait before each attempt to connect: evenly distributed between 0 and a limit that doubles with each attempt, so that the
 * clients of a server that went down do not all come back in the same moment.
 */
export class Backoff {
  #attempt = 0;
  readonly #min: number;
  readonly #max: number;
  readonly #random: () => number;

  /** min and max are in milliseconds; random returns a number from 0 to less than 1. */
  constructor(min: number, max: number, random: () => number) {
    this.#min = min;
    this.#max = max;
    this.#random = random;
  }

  /** next returns how long to wait before the next attempt, in milliseconds. */
  next(): number {
    return this.#random() * Math.min(this.#max, this.#min * 2 ** Math.min(this.#attempt++, MAX_EXPONENT));
  }

  /** reset begins again with the shortest wait. */
  reset(): void {
    this.#attempt = 0;
  }
}
