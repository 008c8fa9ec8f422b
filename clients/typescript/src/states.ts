import type { RollcallError } from "./errors.js";

/**
 * State is what a client is doing.
 * - `online`: it is logged on, as user, in the server's spelling; that is empty where neither the server nor the options name one.
 * - `reconnecting`: there is no connection. error is why it was lost, or why the last attempt failed.
 * - `closed`: it has ended for good. error is why; its code is ClientClosed after Client.close.
 */
export type State =
  | { readonly state: "online"; readonly user: string }
  | { readonly state: "reconnecting"; readonly error: RollcallError }
  | { readonly state: "closed"; readonly error: RollcallError };

/** KEPT is how many states wait for a loop that does not take them; older ones are left out. */
const KEPT = 256;

type Result = IteratorResult<State, undefined>;

/** StateStream is one loop's view of the states. */
class StateStream implements AsyncIterableIterator<State, undefined> {
  #kept: State[];
  #takers: { resolve(r: Result): void; reject(e: unknown): void }[] = [];
  #failed: { reason: unknown } | undefined;
  #over = false;
  readonly #leave: () => void;

  constructor(first: State, leave: () => void) {
    this.#kept = [first];
    this.#over = first.state === "closed";
    this.#leave = leave;
  }

  put(state: State): void {
    if (this.#over) {
      return;
    }
    this.#over = state.state === "closed";
    const taker = this.#takers.shift();
    if (taker !== undefined) {
      taker.resolve({ done: false, value: state });
    } else {
      this.#kept = [...this.#kept.slice(1 - KEPT), state];
    }
    if (this.#over) {
      this.#end();
    }
  }

  fail(reason: unknown): void {
    this.#failed = { reason };
    this.#kept = [];
    for (const t of this.#takers.splice(0)) {
      t.reject(reason);
    }
    this.#end();
  }

  next(): Promise<Result> {
    const state = this.#kept.shift();
    if (state !== undefined) {
      return Promise.resolve({ done: false, value: state });
    }
    if (this.#failed !== undefined) {
      return Promise.reject(this.#failed.reason);
    }
    if (this.#over) {
      return Promise.resolve({ done: true, value: undefined });
    }
    return new Promise((resolve, reject) => this.#takers.push({ resolve, reject }));
  }

  return(): Promise<Result> {
    this.#kept = [];
    this.#end();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #end(): void {
    this.#over = true;
    for (const t of this.#takers.splice(0)) {
      t.resolve({ done: true, value: undefined });
    }
    this.#leave();
  }
}

/** States tells loops how a client is doing. */
export class States {
  #latest: State;
  readonly #streams = new Set<StateStream>();

  constructor(first: State) {
    this.#latest = first;
  }

  /** put tells a state to all loops. */
  put(state: State): void {
    this.#latest = state;
    for (const s of [...this.#streams]) {
      s.put(state);
    }
  }

  /** stream returns the latest state and those that follow. */
  stream(signal: AbortSignal | undefined): AsyncIterableIterator<State> {
    const abort = () => stream.fail(signal?.reason);
    const stream = new StateStream(this.#latest, () => {
      this.#streams.delete(stream);
      signal?.removeEventListener("abort", abort);
    });
    if (signal?.aborted === true) {
      abort();
    } else if (this.#latest.state !== "closed") {
      this.#streams.add(stream);
      signal?.addEventListener("abort", abort);
    }
    return stream;
  }
}
