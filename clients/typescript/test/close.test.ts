import assert from "node:assert/strict";
import { inspect } from "node:util";
import { test } from "node:test";
import { parseClose } from "../dist/bodies.js";
import { RollcallError } from "../dist/errors.js";
import { CLOSE, PUSH_ACK } from "../dist/frame.js";
import { FakePlatform, settle, statesOf, text, utf8 } from "./support.js";

test("close sends what waits, then a Close, and waits for the end of the stream", async () => {
  const p = new FakePlatform();
  const client = await p.online();
  const states = statesOf(client);
  void client.send(1, utf8("last"));
  const asked = client.request(1, utf8(""));
  asked.catch(() => {});
  let closed = false;
  const closing = client.close().then(() => (closed = true));
  assert.equal(client.close(), client.close());
  await assert.rejects(asked, { kind: "disconnected" });
  await settle();
  assert.deepEqual([text(p.peer.sent[1]?.body as Uint8Array), p.peer.sent.at(-1)?.type, p.peer.ended, closed], ["last", CLOSE, true, false]);
  assert.equal(parseClose(p.peer.sent.at(-1)?.body as Uint8Array, "connection").code, 1000);
  await p.peer.send({ type: 1, body: utf8("too late") });
  await p.peer.hangUp();
  await closing;
  await settle();
  assert.deepEqual(states, ["online", "closed 1000", "end"]);
  assert.equal(client.state.state, "closed");
  assert.equal(p.peer.ofType(CLOSE).length, 1);
  await client.close();
  for (const failed of [client.send(1, utf8("")), client.request(1, utf8("")), client.whoIsOnline([])]) {
    await assert.rejects(failed, { kind: "closed" });
  }
  client.reconnectNow();
  await settle();
  assert.deepEqual([p.clock.timers, p.page, p.attempts.length], [0, undefined, 1]);
});

test("a server that does not end its side is given closeTimeout", async () => {
  const p = new FakePlatform();
  const client = await p.online({ closeTimeout: 700 });
  const closing = client.close();
  await p.clock.advance(699);
  assert.ok(!p.peer.closed);
  await p.clock.advance(1);
  await closing;
  assert.ok(p.peer.closed);
});

test("close ends a wait to reconnect, and an attempt", async () => {
  for (const wait of [0, 200]) {
    const p = new FakePlatform();
    const client = await p.online();
    const states = statesOf(client);
    await p.peer.hangUp();
    await p.clock.advance(wait);
    await client.close();
    await settle();
    assert.deepEqual(states, ["online", "reconnecting 1001", "closed 1000", "end"]);
    assert.ok(p.peer.closed);
    await p.clock.advance(100_000);
    assert.deepEqual([p.clock.timers, p.attempts.length], [0, wait === 0 ? 1 : 2]);
  }
});

test("a handler may close the client, and gets nothing more", async () => {
  const p = new FakePlatform();
  const client = await p.online();
  const got: string[] = [];
  client.on(1, async (m) => {
    got.push(text(m.body));
    const closing = client.close();
    await p.peer.hangUp();
    await closing;
  });
  const first = p.peer.send({ type: 1, body: utf8("a") });
  const second = p.peer.send({ type: 1, body: utf8("b") });
  await Promise.all([first, second]);
  await client.close();
  assert.deepEqual(got, ["a"]);
});

test("what waits for a handler at close is not handed out", async () => {
  const p = new FakePlatform();
  const client = await p.online();
  const got: string[] = [];
  let finish = () => {};
  client.on(1, (m) => {
    got.push(text(m.body));
    return new Promise((resolve) => (finish = resolve));
  });
  await p.peer.send({ type: 1, body: utf8("a") });
  await p.peer.send({ type: 1, body: utf8("b") });
  void client.close();
  finish();
  await p.peer.hangUp();
  assert.deepEqual(got, ["a"]);
});

test("a push whose handler has not finished at close is not acknowledged, and does not hold close up", async () => {
  const p = new FakePlatform();
  const client = await p.online();
  const states = statesOf(client);
  let finish = () => {};
  client.onPush(() => new Promise((resolve) => (finish = resolve)));
  const body = new Uint8Array(29);
  body.set([1, 1], 15);
  body[17] = 1;
  await p.peer.send({ type: 0xff03, body });
  const closing = client.close();
  await p.peer.hangUp();
  await closing;
  await settle();
  assert.deepEqual(states, ["online", "closed 1000", "end"]);
  finish();
  await settle();
  assert.equal(p.peer.ofType(PUSH_ACK).length, 0);
});

test("nothing that is printed shows the token or the session", async () => {
  const p = new FakePlatform();
  const secrets = ["TOKEN-1", "SESSION-1"];
  const options = { user: "alice", token: async () => "TOKEN-1", device: 1 };
  const client = await p.online(options, { session: "SESSION-1", "expires-ms": "1000000" });
  const errors: unknown[] = [];
  errors.push(await client.send(1, new Uint8Array(2 << 20)).catch((e: unknown) => e));
  errors.push(await client.send(0, utf8("")).catch((e: unknown) => e));
  await p.peer.hangUp();
  errors.push(await client.request(1, utf8("")).catch((e: unknown) => e));
  const broken = await p.begin({ token: () => "TOKEN-1\ud800" });
  errors.push(await broken.connected.catch((e: unknown) => e));
  const address = await p.begin({}, "http://u:TOKEN-1@a:99999/?t=TOKEN-1");
  errors.push(await address.connected.catch((e: unknown) => e));
  const path = await p.begin({}, "wss://u:TOKEN-1@a:99999/?t=TOKEN-1");
  errors.push(await path.connected.catch((e: unknown) => e));
  for (const value of [client, client.state, client.states(), options, ...errors]) {
    const texts = [String(value), JSON.stringify(value), inspect(value, { showHidden: true, depth: Infinity, getters: true }), (value as Error).stack ?? ""];
    for (const secret of secrets) {
      assert.ok(!texts.join("\n").includes(secret), `${secret} in ${texts.join("\n")}`);
    }
  }
  assert.ok(errors.every((e) => e instanceof Error));
});

test("errors say what they are", () => {
  const e = new RollcallError(2003, "bad token", { kind: "connection" });
  assert.equal(String(e), "RollcallError: 2003 Unauthorized: bad token");
  assert.equal(String(new RollcallError(4001)), "RollcallError: 4001");
  assert.ok(e instanceof Error);
  assert.deepEqual([e.mayReconnect, new RollcallError(3000).mayReconnect], [false, true]);
});
