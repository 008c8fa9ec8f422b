/** Job is what the inbox runs. The next one waits for the promise. */
export type Job = () => void | Promise<void>;

/** How many jobs run in a row before other events of the program get their turn. */
const BATCH = 1024;

/** Inbox runs the application's handlers one at a time, in the order in which messages came. */
export class Inbox {
  #jobs: { run: Job; size: number }[] = [];
  #next = 0; // #jobs[#next] is the next one
  #bytes = 0;
  #busy = true; // until start
  #over = false;
  readonly #defer: (f: () => void) => void;
  readonly #emptied: () => void;

  /** emptied is called after each job of a size, since then there may be room again. */
  constructor(defer: (f: () => void) => void, emptied: () => void) {
    this.#defer = defer;
    this.#emptied = emptied;
  }

  /** How many bytes wait. */
  get bytes(): number {
    return this.#bytes;
  }

  /** start lets the jobs run. */
  start(): void {
    this.#busy = false;
    this.#run();
  }

  /** put adds a job, which counts as so many bytes. It must not throw. */
  put(run: Job, size: number): void {
    if (this.#over) {
      return;
    }
    this.#jobs.push({ run, size });
    this.#bytes += size;
    this.#run();
  }

  /** end throws away what waits, and what comes later. */
  end(): void {
    this.#over = true;
    this.#jobs = [];
    this.#next = this.#bytes = 0;
  }

  #run(): void {
    for (let n = 0; !this.#busy; n++) {
      const job = this.#jobs[this.#next];
      if (job === undefined) {
        this.#jobs = [];
        this.#next = 0;
        return;
      }
      if (n === BATCH) {
        this.#busy = true;
        this.#defer(() => this.start());
        return;
      }
      this.#jobs[this.#next++] = DONE;
      if (this.#next >= BATCH && this.#next * 2 > this.#jobs.length) {
        this.#jobs.splice(0, this.#next);
        this.#next = 0;
      }
      this.#bytes -= job.size;
      this.#busy = true;
      const running = job.run();
      if (job.size > 0) {
        this.#emptied();
      }
      if (running !== undefined) {
        void running.then(() => this.start());
        return;
      }
      this.#busy = false;
    }
  }
}

const DONE = { run: () => {}, size: 0 }; // in place of jobs that ran, so that they do not stay in memory
