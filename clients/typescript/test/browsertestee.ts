// The testee of the client for browsers. It passes lines on between its standard input and output and a page, by way of browserhost.ts, which
// the first testee of a run starts.

import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { findChromium } from "./chromium.js";

const PATIENCE = 60_000; // milliseconds

if (findChromium() === undefined) {
  console.error("there is no chromium: install it (apt-get install chromium)");
  process.exit(1);
}
const dir = join(tmpdir(), `rollcall-browser-${process.getuid?.() ?? ""}-${process.ppid}`);
const path = join(dir, "socket");

function attempt(): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const s = connect({ path, allowHalfOpen: true });
    s.once("connect", () => resolve(s));
    s.once("error", reject);
  });
}

/** reach connects to the host, and starts it if no other testee has: only one can make the folder. */
async function reach(): Promise<Socket> {
  for (const end = Date.now() + PATIENCE; ; ) {
    try {
      return await attempt();
    } catch (e) {
      if (Date.now() > end) {
        throw e;
      }
    }
    try {
      mkdirSync(dir, { mode: 0o700 });
      const host = fileURLToPath(new URL("browserhost.js", import.meta.url));
      spawn(process.execPath, [host, path, String(process.ppid)], { detached: true, stdio: "ignore" }).unref();
    } catch {
      // Another testee has it.
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const socket = await reach();
process.stdin.pipe(socket);
for await (const line of createInterface({ input: socket })) {
  const stream = line.startsWith("e") ? process.stderr : process.stdout;
  stream.write(`${line.slice(1)}\n`);
}
process.exit(0);
