/** How many pushes a client remembers; docs/protocol.md, Pushes, has the number. */
export const REMEMBERED_PUSHES = 1024;

/** PushMemory has the IDs of the last pushes that were dealt with, and of those whose acknowledgement waits for a connection. */
export class PushMemory {
  readonly #done = new Set<string>(); // in the order in which they were added
  #unsent: string[] = [];

  /** has reports whether a push was dealt with. */
  has(id: string): boolean {
    return this.#done.has(id);
  }

  /** add remembers a push, and forgets the oldest if there are too many. */
  add(id: string): void {
    this.#done.add(id);
    if (this.#done.size > REMEMBERED_PUSHES) {
      for (const oldest of this.#done) {
        this.#done.delete(oldest);
        break;
      }
    }
  }

  /** later keeps an acknowledgement for the next connection. */
  later(id: string): void {
    this.#unsent.push(id);
    if (this.#unsent.length > REMEMBERED_PUSHES) {
      this.#unsent.shift();
    }
  }

  /** takeUnsent returns the acknowledgements that were kept, and keeps them no longer. */
  takeUnsent(): string[] {
    const ids = this.#unsent;
    this.#unsent = [];
    return ids;
  }
}
