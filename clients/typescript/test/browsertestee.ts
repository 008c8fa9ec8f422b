// The testee of the client for browsers: this half starts Chromium, opens the page of pagetestee.ts in it, and passes lines on between that and
// the standard input and output. It speaks the Chrome DevTools protocol over pipes: JSON, each message with a 0 behind it.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { delimiter, join } from "node:path";
import { createInterface } from "node:readline";
import { tmpdir } from "node:os";
import type { Readable, Writable } from "node:stream";

const root = new URL("..", import.meta.url);
const page = `<!DOCTYPE html><meta charset="utf-8"><title>testee</title>
<script type="importmap">{"imports": {"@rollcall/client/browser": "/dist/browser.js"}}</script>
<script type="module" src="/build/pagetestee.js"></script>`;

const site = createServer((request, response) => {
  const path = request.url ?? "";
  const known = /^\/(dist|build)\/[a-z]+\.js$/.test(path) && existsSync(new URL(`.${path}`, root));
  response.setHeader("Content-Type", known ? "text/javascript" : "text/html");
  response.end(known ? readFileSync(new URL(`.${path}`, root)) : page);
});
site.listen(0, "127.0.0.1");
await once(site, "listening");

const programs = ["chromium", "chromium-browser", "google-chrome"];
const folders = (process.env["PATH"] ?? "").split(delimiter);
const program = programs.flatMap((name) => folders.map((f) => join(f, name))).find((file) => existsSync(file));
if (program === undefined) {
  console.error("there is no chromium: install it (apt-get install chromium)");
  process.exit(1);
}
const profile = mkdtempSync(join(tmpdir(), "rollcall-testee-"));
const browser = spawn(
  program,
  [
    "--headless", "--no-sandbox", "--remote-debugging-pipe", `--user-data-dir=${profile}`, "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage",
    "--disable-extensions", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-default-browser-check",
    "about:blank",
  ],
  { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] },
);
const over = once(browser, "exit");
process.on("exit", () => {
  browser.kill("SIGKILL");
  rmSync(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
});

const [, , , toBrowser, fromBrowser] = browser.stdio as unknown as [null, null, null, Writable, Readable];
const answers = new Map<number, (result: Record<string, never>) => void>();
let lastID = 0;
let session: string | undefined;

interface FromBrowser {
  id?: number;
  method?: string;
  params?: { name?: string; payload?: string; exceptionDetails?: { text: string; exception?: { description?: string } } };
  result?: Record<string, never>;
}

function call(method: string, params: object = {}): Promise<Record<string, never>> {
  const id = ++lastID;
  toBrowser.write(`${JSON.stringify({ id, method, params, ...(session === undefined ? {} : { sessionId: session }) })}\0`);
  return new Promise((resolve) => answers.set(id, resolve));
}

function came(message: FromBrowser): void {
  if (message.id !== undefined) {
    answers.get(message.id)?.(message.result ?? {});
    answers.delete(message.id);
  } else if (message.method === "Runtime.bindingCalled") {
    process.stdout.write(`${message.params?.payload}\n`);
  } else if (message.method === "Runtime.exceptionThrown") {
    const details = message.params?.exceptionDetails;
    console.error(details?.exception?.description ?? details?.text);
  }
}

let rest = "";
fromBrowser.setEncoding("utf8").on("data", (piece: string) => {
  const messages = (rest + piece).split("\0");
  rest = messages.pop() ?? "";
  for (const m of messages) {
    came(JSON.parse(m) as FromBrowser);
  }
});

const { targetInfos } = (await call("Target.getTargets")) as unknown as { targetInfos: { targetId: string; type: string }[] };
const targetId = targetInfos.find((t) => t.type === "page")?.targetId;
({ sessionId: session } = (await call("Target.attachToTarget", { targetId, flatten: true })) as { sessionId?: string });
await call("Runtime.enable");
await call("Runtime.addBinding", { name: "tellTestee" });
await call("Page.navigate", { url: `http://127.0.0.1:${(site.address() as AddressInfo).port}/` });

for await (const line of createInterface({ input: process.stdin })) {
  await call("Runtime.evaluate", { expression: `testee.run(${JSON.stringify(line)})` });
}
await call("Runtime.evaluate", { expression: "testee.close()", awaitPromise: true });
void call("Browser.close");
await over;
process.exit(0);
