import type { Clock } from "./platform.js";

/** sleep waits so many milliseconds. It reports false, at once, when signal is aborted. begun gets a function that ends the wait early. */
export function sleep(clock: Clock, ms: number, signal: AbortSignal, begun?: (end: () => void) => void): Promise<boolean> {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve(false);
      return;
    }
    const done = (whole: boolean) => {
      stop();
      signal.removeEventListener("abort", aborted);
      resolve(whole);
    };
    const aborted = () => done(false);
    const stop = clock.timer(ms, () => done(true));
    signal.addEventListener("abort", aborted);
    begun?.(() => done(true));
  });
}

/** until returns what p comes to, or throws the reason of signal if that is aborted first. */
export function until<T>(p: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const aborted = () => reject(signal.reason);
    if (signal.aborted) {
      aborted();
    } else {
      signal.addEventListener("abort", aborted);
    }
    p.then(resolve, reject).finally(() => signal.removeEventListener("abort", aborted));
  });
}

/** Deadline is a signal that is aborted with a reason after some time, or together with other signals. Call end when it is not needed any more. */
export class Deadline {
  readonly #controller = new AbortController();
  readonly #parents: readonly AbortSignal[];
  readonly #stop: () => void;
  readonly #follow = () => {
    for (const p of this.#parents) {
      if (p.aborted) {
        this.#controller.abort(p.reason);
      }
    }
  };

  constructor(clock: Clock, ms: number, reason: () => Error, ...parents: readonly AbortSignal[]) {
    this.#parents = parents;
    this.#stop = clock.timer(ms, () => this.#controller.abort(reason()));
    for (const p of parents) {
      p.addEventListener("abort", this.#follow);
    }
    this.#follow();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  end(): void {
    this.#stop();
    for (const p of this.#parents) {
      p.removeEventListener("abort", this.#follow);
    }
  }
}
