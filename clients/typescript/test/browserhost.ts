// One Chromium for all testees of a run of the conformance suite, since starting one takes a second of processor time. browsertestee.ts starts
// this with the path of a socket and the ID of the suite's process. Each connection is a testee, and gets a tab. What comes is the
// testee's standard input; what goes is its standard output and error, each line with a letter before it, o or e. This ends with the
// suite, or when it has had nothing to do for a while.

import { rmSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { dirname } from "node:path";
import { createInterface } from "node:readline";
import { Chromium, findChromium } from "./chromium.js";
import { serveSite } from "./site.js";

const IDLE = 15_000; // milliseconds

const [, , path = "", suite = ""] = process.argv;
const browser = new Chromium(findChromium() as string);
const { url } = await serveSite("pagetestee.js");
let busy = 0;
let idleSince = Date.now();

async function serve(socket: Socket): Promise<void> {
  let isReady = () => {};
  const ready = new Promise<void>((resolve) => (isReady = resolve));
  const tab = await browser.open(url, {
    told(line) {
      isReady();
      socket.write(`o${line}\n`);
    },
    failed: (error) => socket.write(`e${error.replaceAll("\n", "\ne")}\n`),
  });
  await ready;
  for await (const line of createInterface({ input: socket })) {
    await tab.evaluate(`testee.run(${JSON.stringify(line)})`);
  }
  await tab.evaluate("testee.close()");
  await tab.close();
}

const server = createServer({ allowHalfOpen: true }, (socket) => {
  busy++;
  socket.on("error", () => {});
  serve(socket)
    .catch((e: unknown) => socket.write(`e${String(e)}\n`))
    .finally(() => {
      socket.end();
      busy--;
      idleSince = Date.now();
    });
}).listen(path);

process.on("exit", () => {
  browser.kill();
  rmSync(dirname(path), { recursive: true, force: true });
});
process.on("SIGTERM", () => process.exit());

setInterval(() => {
  if (Number(suite) <= 1) {
    process.exit(); // the suite ended before the testee began: init is its parent
  }
  try {
    process.kill(Number(suite), 0);
  } catch {
    process.exit();
  }
  if (busy === 0 && Date.now() - idleSince > IDLE) {
    server.close();
    process.exit();
  }
}, 500);
