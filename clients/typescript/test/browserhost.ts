// One Chromium for all testees of a run of the conformance suite, since starting one takes a second of processor time. browsertestee.ts starts
// this with the path of a socket and the ID of the suite's process. Each connection is a testee, and gets a frame of the one page: a frame has
// globals of its own, as a tab has, but takes no process. What comes is the testee's standard input; what goes is its standard output and
// error, each line with a letter before it, o or e. This ends with the suite, or when it has had nothing to do for a while.

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
const testees = new Map<string, (line: string) => void>(); // what takes the events of each frame, by its name
const tab = await browser.open(`${url}frames`, {
  told(text) {
    const end = text.indexOf(" ");
    testees.get(text.slice(0, end))?.(text.slice(end + 1));
  },
  failed: (error) => errors(error),
});
while ((await tab.evaluate(`location.pathname === "/frames" && document.readyState === "complete"`).catch(() => false)) !== true) {
  await new Promise((resolve) => setTimeout(resolve, 10)); // frames of the page before would be lost
}
let lastFrame = 0;
let busy = 0;
let idleSince = Date.now();
const sockets = new Set<Socket>();

/** errors tells all testees of an error that nothing has caught: the browser does not say in which frame it was. */
function errors(error: string): void {
  for (const s of sockets) {
    s.write(`e${error.replaceAll("\n", "\ne")}\n`);
  }
}

async function serve(socket: Socket): Promise<void> {
  const frame = `testee${++lastFrame}`;
  sockets.add(socket);
  const ready = new Promise<void>((resolve) => {
    testees.set(frame, (line) => {
      resolve();
      socket.write(`o${line}\n`);
    });
  });
  try {
    await tab.evaluate(`document.body.append(Object.assign(document.createElement("iframe"), { name: "${frame}", src: "/" })), 0`);
    await ready;
    for await (const line of createInterface({ input: socket })) {
      await tab.evaluate(`${frame}.testee.run(${JSON.stringify(line)})`);
    }
    await tab.evaluate(`${frame}.testee.close()`);
  } finally {
    testees.delete(frame);
    sockets.delete(socket);
    await tab.evaluate(`document.querySelector("iframe[name=${frame}]").remove()`);
  }
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
