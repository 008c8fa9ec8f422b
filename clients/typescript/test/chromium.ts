// A Chromium without a window, driven by the Chrome DevTools protocol over pipes: JSON, each message with a 0 behind it.

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import type { Readable, Writable } from "node:stream";

const programs = ["chromium", "chromium-browser", "google-chrome"];

/** findChromium returns the browser's program, or undefined if there is none. */
export function findChromium(): string | undefined {
  const folders = (process.env["PATH"] ?? "").split(delimiter);
  return programs.flatMap((name) => folders.map((f) => join(f, name))).find((file) => existsSync(file));
}

type Result = Record<string, unknown>;

interface FromBrowser {
  id?: number;
  method?: string;
  sessionId?: string;
  params?: { name?: string; payload?: string; exceptionDetails?: { text: string; exception?: { description?: string } } };
  result?: Result;
  error?: { message: string };
}

/** Tab is a page in a profile of its own. */
export interface Tab {
  /** evaluate runs JavaScript, and waits for what it promises. */
  evaluate(expression: string): Promise<unknown>;
  call(method: string, params?: object): Promise<Result>;
  close(): Promise<void>;
}

/** TabEvents are what a page tells: texts given to the function tell, and errors that nothing has caught. */
export interface TabEvents {
  told(text: string): void;
  failed(error: string): void;
}

export class Chromium {
  readonly #toBrowser: Writable;
  readonly #kill: () => void;
  readonly #answers = new Map<number, { resolve(r: Result): void; reject(e: Error): void }>();
  readonly #tabs = new Map<string, TabEvents>();
  #lastID = 0;
  #rest = "";

  constructor(program: string) {
    const profile = mkdtempSync(join(tmpdir(), "rollcall-chromium-"));
    const flags = [
      "headless", "no-sandbox", "remote-debugging-pipe", `user-data-dir=${profile}`, "no-first-run", "disable-gpu", "disable-dev-shm-usage",
      "disable-extensions", "disable-background-networking", "disable-component-update", "disable-sync", "no-default-browser-check",
      "disable-background-timer-throttling", "disable-renderer-backgrounding", "disable-backgrounding-occluded-windows",
    ];
    const browser = spawn(program, [...flags.map((f) => `--${f}`), "about:blank"], { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
    const [, , , toBrowser, fromBrowser] = browser.stdio as unknown as [null, null, null, Writable, Readable];
    this.#toBrowser = toBrowser;
    toBrowser.on("error", () => {});
    this.#kill = () => {
      browser.kill("SIGKILL");
      rmSync(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
    };
    fromBrowser.setEncoding("utf8").on("data", (piece: string) => {
      const messages = (this.#rest + piece).split("\0");
      this.#rest = messages.pop() ?? "";
      for (const m of messages) {
        this.#came(JSON.parse(m) as FromBrowser);
      }
    });
  }

  /** kill ends the browser, and removes its profile. */
  kill(): void {
    this.#kill();
  }

  /** open opens a page in a profile of its own. It has the function tell. */
  async open(url: string, events: TabEvents): Promise<Tab> {
    const { browserContextId } = await this.#call("Target.createBrowserContext");
    const { targetId } = await this.#call("Target.createTarget", { url: "about:blank", browserContextId });
    const { sessionId } = (await this.#call("Target.attachToTarget", { targetId, flatten: true })) as { sessionId: string };
    const call = (method: string, params: object = {}) => this.#call(method, params, sessionId);
    this.#tabs.set(sessionId, events);
    await call("Runtime.enable");
    await call("Runtime.addBinding", { name: "tell" });
    await call("Page.navigate", { url });
    return {
      call,
      evaluate: async (expression) => {
        const { result } = await call("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
        return (result as { value?: unknown } | undefined)?.value;
      },
      close: async () => {
        this.#tabs.delete(sessionId);
        await this.#call("Target.disposeBrowserContext", { browserContextId });
      },
    };
  }

  #call(method: string, params: object = {}, sessionId?: string): Promise<Result> {
    const id = ++this.#lastID;
    this.#toBrowser.write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    return new Promise((resolve, reject) => this.#answers.set(id, { resolve, reject }));
  }

  #came({ id, method, params, sessionId, result, error }: FromBrowser): void {
    if (id !== undefined) {
      const answer = this.#answers.get(id);
      this.#answers.delete(id);
      if (error !== undefined) {
        answer?.reject(new Error(error.message));
      } else {
        answer?.resolve(result ?? {});
      }
      return;
    }
    const tab = this.#tabs.get(sessionId ?? "");
    if (method === "Runtime.bindingCalled") {
      tab?.told(params?.payload ?? "");
    } else if (method === "Runtime.exceptionThrown") {
      const details = params?.exceptionDetails;
      tab?.failed(details?.exception?.description ?? details?.text ?? "");
    }
  }
}
