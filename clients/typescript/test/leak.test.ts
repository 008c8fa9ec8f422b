import assert from "node:assert/strict";
import { once, EventEmitter } from "node:events";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { connect } from "@rollcall/client/node";
import { TestServer } from "./server.js";
import { utf8 } from "./support.js";

setFlagsFromString("--expose-gc");
const gc = runInNewContext("gc") as () => void;

/** The bytes on the heap that are in use. */
async function heap(): Promise<number> {
  for (let i = 0; i < 3; i++) {
    gc();
    await new Promise((resolve) => setImmediate(resolve));
  }
  return process.memoryUsage().heapUsed;
}

test("a thousand reconnects leave nothing in memory", async () => {
  const server = new TestServer();
  const at = await server.start();
  const client = await connect(`tcp://${at}`, { user: "alice", token: () => "t", reconnect: { min: 0, max: 0 } });
  const online = new EventEmitter();
  client.on(1, () => {});
  void (async () => {
    for await (const s of client.states()) {
      online.emit(s.state);
    }
  })();
  const cycle = async (n: number) => {
    for (let i = 0; i < n; i++) {
      const again = once(online, "online", { signal: AbortSignal.timeout(60_000) });
      const asked = client.request(1, utf8("lost or not")).catch(() => {});
      server.close("alice", 1004);
      await again;
      await asked;
      await client.request(1, utf8("hello"));
    }
  };
  await new Promise((resolve) => setImmediate(resolve)); // the loop has seen the first state
  await cycle(1_000); // what is compiled and cached once
  const before = await heap();
  await cycle(1_000);
  const grown = (await heap()) - before;
  assert.equal(server.logons, 2_001);
  assert.ok(grown < 512 << 10, `the heap has grown by ${grown} bytes`);
  console.log(`1,000 reconnects: the heap has grown by ${grown} bytes`);
  await client.close();
  server.stop();
});
