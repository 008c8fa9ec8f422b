// The browser's build, in Chromium.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, test, type TestContext } from "node:test";
import { HEARTBEAT, PUSH, PUSH_ACK } from "../dist/frame.js";
import { Chromium, findChromium, type Tab } from "./chromium.js";
import { TestServer } from "./server.js";
import { serveSite } from "./site.js";

const PATIENCE = 30_000;
const program = findChromium();
const left = program === undefined && process.env["CI"] !== "true" ? "there is no chromium" : false;
let chromium: Chromium | undefined;
after(() => chromium?.kill());

/** eventually waits until f returns a value that is not undefined. */
async function eventually<T>(what: string, f: () => Promise<T | undefined> | T | undefined): Promise<T> {
  for (const end = Date.now() + PATIENCE; Date.now() < end; await new Promise((resolve) => setTimeout(resolve, 20))) {
    const value = await f();
    if (value !== undefined) {
      return value;
    }
  }
  throw new Error(`not in time: ${what}`);
}

interface Stand {
  s: TestServer;
  tab: Tab;
  url: string;
  site: string;
  /** logged waits until the client has told these things, and no other. */
  logged(...want: string[]): Promise<void>;
}

async function stand(t: TestContext, options = "{}"): Promise<Stand> {
  assert.ok(program);
  chromium ??= new Chromium(program);
  const s = TestServer.web();
  t.after(() => s.stop());
  const url = `ws://${await s.start()}/rc`;
  const { url: site, site: server } = await serveSite("page.js");
  t.after(() => void server.close().closeAllConnections());
  let ready = false;
  const errors: string[] = [];
  const tab = await chromium.open(site, { told: () => (ready = true), failed: (e) => errors.push(e) });
  t.after(async () => {
    await tab.close();
    assert.deepEqual(errors, []);
  });
  await eventually("the page is ready", () => ready || undefined);
  await tab.evaluate(`begin(${JSON.stringify(url)}, ${options})`);
  const logged = async (...want: string[]) => {
    await eventually(want.join(), async () => ((await tab.evaluate("log.length")) as number) >= want.length || undefined);
    assert.deepEqual(await tab.evaluate("log"), want);
  };
  await logged("online");
  return { s, tab, url, site, logged };
}

const frames = (s: TestServer, type: number) => s.frames.filter((f) => f.type === type);
const slow = "{ reconnect: { min: 1e9, max: 1e9 } }"; // who waits for the backoff waits for ever

test("a page sends, asks, and takes pushes", { skip: left }, async (t) => {
  const { s, tab, logged } = await stand(t);
  assert.equal(await tab.evaluate("ask('grüß dich')"), "grüß dich");
  const body = new Uint8Array(30);
  body.set([1, 1, 1], 15); // the ID's last byte, a text, to be confirmed
  body.set([0x68, 0x69], 28);
  s.send("alice", { type: PUSH, body });
  await logged("online", "push hi");
  await eventually("an acknowledgement", () => frames(s, PUSH_ACK)[0]);
  assert.equal(await tab.evaluate("client.send(1, new Uint8Array(900000)).then(() => 'sent')"), "sent");
  await tab.evaluate("client.close()");
  await logged("online", "push hi", "closed 1000");
  assert.deepEqual(s.streams[0]?.controls.map(([opcode]) => opcode), [8]);
});

test("a page comes back by itself, and not after it was pushed out", { skip: left }, async (t) => {
  const { s, tab, logged } = await stand(t);
  s.close("alice", 1004);
  await logged("online", "reconnecting 1004", "online");
  assert.equal(await tab.evaluate("ask('there?')"), "there?");
  s.close("alice", 2000);
  await logged("online", "reconnecting 1004", "online", "closed 2000");
});

test("a page that is thawed, or has a network again, reconnects at once", { skip: left }, async (t) => {
  const wakes: Record<string, (tab: Tab) => Promise<unknown>> = {
    thawed: async (tab) => {
      await tab.call("Page.setWebLifecycleState", { state: "frozen" });
      await tab.call("Page.setWebLifecycleState", { state: "active" });
    },
    online: async (tab) => {
      const conditions = { latency: 0, downloadThroughput: -1, uploadThroughput: -1 };
      await tab.call("Network.emulateNetworkConditions", { ...conditions, offline: true });
      await tab.call("Network.emulateNetworkConditions", { ...conditions, offline: false });
    },
    visible: (tab) => tab.evaluate("hide(true), hide(false)"),
  };
  for (const [name, wake] of Object.entries(wakes)) {
    await t.test(name, async (t) => {
      const { s, tab, logged } = await stand(t, slow);
      s.close("alice", 1004);
      await logged("online", "reconnecting 1004");
      await wake(tab);
      await logged("online", "reconnecting 1004", "online");
    });
  }
});

test("a page that is left has no connection, and one when it is shown again", { skip: left }, async (t) => {
  const { s, tab, site, logged } = await stand(t, slow);
  await tab.evaluate("document.title = 'kept'");
  await tab.call("Page.navigate", { url: `${site}dist/codes.js` });
  await eventually("the connection's end", () => s.streams[0]?.destroyed || undefined);
  await tab.evaluate("void setTimeout(() => history.back())");
  await eventually("the page", async () => (await tab.evaluate("globalThis.log?.length")) as number | undefined);
  assert.equal(await tab.evaluate("document.title"), "kept", "the browser has not kept the page");
  await logged("online", "reconnecting 1001", "online");
});

test("a page asks when it is visible again, and sends hardly anything while it is hidden", { skip: left }, async (t) => {
  const { s, tab, url } = await stand(t);
  await tab.evaluate("client.close()");
  s.heartbeat = 100;
  await tab.evaluate(`log.length = 0, hide(true), begin(${JSON.stringify(url)})`);
  await eventually("the logon", () => s.streams.length > 1 || undefined);
  await tab.evaluate("new Promise((resolve) => setTimeout(resolve, 1000))"); // it would have sent some
  assert.equal(frames(s, HEARTBEAT).length, 0);
  await tab.evaluate("hide(false)");
  const asked = await eventually("a heartbeat", () => frames(s, HEARTBEAT)[0]);
  assert.notEqual(asked.id, 0);
});

test("the browser's build imports nothing of Node's", () => {
  const seen = new Set<string>();
  const walk = (file: string) => {
    if (!seen.has(file)) {
      seen.add(file);
      for (const [, from = ""] of readFileSync(new URL(`../dist/${file}`, import.meta.url), "utf8").matchAll(/(?:from|import) "([^"]+)"/g)) {
        assert.match(from, /^\.\/[a-z]+\.js$/, file);
        walk(from.slice(2));
      }
    }
  };
  walk("browser.js");
  assert.ok(seen.size > 10 && !seen.has("node.js"));
});
