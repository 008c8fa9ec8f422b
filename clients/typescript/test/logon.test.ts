import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeClose, parseClose, parseMap } from "../dist/bodies.js";
import { RollcallError } from "../dist/errors.js";
import { CLOSE, ERROR, LOGON, REPLY } from "../dist/frame.js";
import { FakePlatform, settle, statesOf, utf8 } from "./support.js";

test("a logon carries user, device, fields and token", async () => {
  const p = new FakePlatform();
  const client = await p.online({ device: 7, token: async () => "t:7", fields: { __proto__x: "y", ["constructor"]: "c" } });
  const [logon] = p.peer.ofType(LOGON);
  assert.deepEqual([logon?.user, logon?.device, logon?.id], ["alice", 7, 1]);
  assert.deepEqual(Object.fromEntries(parseMap(logon?.body as Uint8Array)), { constructor: "c", __proto__x: "y", token: "t:7" });
  assert.deepEqual(client.state, { state: "online", user: "alice" });
});

test("a field may be named __proto__", async () => {
  const p = new FakePlatform();
  await p.online({ fields: JSON.parse('{"__proto__":"p"}') as Record<string, string> });
  assert.equal(parseMap(p.peer.sent[0]?.body as Uint8Array).get("__proto__"), "p");
});

test("the server names the user", async () => {
  const p = new FakePlatform();
  const { connected } = await p.begin({ user: "" });
  await p.peer.welcome({}, "Zoë");
  assert.deepEqual((await connected).state, { state: "online", user: "Zoë" });
});

test("the token function is called before each logon, and the last session goes with it", async () => {
  const p = new FakePlatform();
  let n = 0;
  await p.online({ token: () => `t${++n}` }, { session: "s1" });
  await p.peer.hangUp();
  await p.clock.advance(1_000);
  const values = p.peers.map((peer) => Object.fromEntries(parseMap(peer.sent[0]?.body as Uint8Array)));
  assert.deepEqual(values, [{ token: "t1" }, { token: "t2", session: "s1" }]);
});

test("a first attempt that is refused rejects with the code", async () => {
  const p = new FakePlatform();
  const { connected } = await p.begin();
  await p.peer.refuse(2003, "bad token");
  await assert.rejects(connected, (e) => e instanceof RollcallError && e.code === 2003 && e.text === "bad token" && !e.mayReconnect);
  assert.ok(p.peer.closed);
  assert.equal(p.clock.timers, 0);
});

test("a Close before the logon's reply is a refusal", async () => {
  const p = new FakePlatform();
  const { connected } = await p.begin();
  await p.peer.closeWith(1006, "full");
  await assert.rejects(connected, { code: 1006, mayReconnect: true });
});

test("an answer that is none to a logon is InvalidMessage, of which the server is told", async () => {
  const p = new FakePlatform();
  const { connected } = await p.begin();
  await p.peer.send({ type: 1, body: utf8("hello") });
  assert.equal(p.peer.ofType(CLOSE).length, 1);
  await p.peer.hangUp();
  await assert.rejects(connected, { code: 2004, mayReconnect: false });
});

test("an attempt ends after connectTimeout", async () => {
  const p = new FakePlatform();
  const { connected } = await p.begin({ connectTimeout: 500 });
  await p.clock.advance(500);
  await assert.rejects(connected, { code: 1001 });
  assert.ok(p.peer.closed);
  assert.equal(p.clock.timers, 0);
});

test("a small maxBody leaves room for the answer to the Logon, a Close and an error reply", async () => {
  const p = new FakePlatform();
  const client = await p.online({ maxBody: 10 }, { session: "s".repeat(100) });
  const asked = client.request(1, new Uint8Array(10));
  asked.catch(() => {});
  await settle();
  await p.peer.send({ type: 1, flags: REPLY | ERROR, id: p.peer.sent.at(-1)?.id ?? 0, body: encodeClose(5003, "x".repeat(100)) });
  await assert.rejects(asked, { code: 5003 });
  await p.peer.closeWith(1004, "x".repeat(60_000));
  assert.deepEqual(client.state.state === "reconnecting" && client.state.error.code, 1004);
  await p.clock.advance(1000);
  await p.peer.welcome();
  assert.equal(client.state.state, "online");
  await p.peer.send({ type: 1, body: new Uint8Array(11) });
  assert.equal(parseClose(p.peer.sent.at(-1)?.body ?? new Uint8Array(), "connection").code, 2006);
});

test("a signal ends the first attempt, with its reason, and later does nothing", async () => {
  const p = new FakePlatform();
  const stop = new AbortController();
  const { connected } = await p.begin({ signal: stop.signal });
  stop.abort(new Error("enough"));
  await assert.rejects(connected, /enough/);
  await settle();
  assert.ok(p.peer.closed);

  const later = new AbortController();
  const client = await p.online({ signal: later.signal });
  later.abort();
  await settle();
  assert.equal(client.state.state, "online");
});

test("the token function gets a signal that ends with the attempt", async () => {
  const p = new FakePlatform();
  let aborted = false;
  const { connected } = await p.begin({
    connectTimeout: 100,
    token: (signal) => new Promise(() => signal.addEventListener("abort", () => (aborted = true))),
  });
  await p.clock.advance(100);
  await assert.rejects(connected, { code: 1001 });
  assert.ok(aborted);
});

test("a token function that fails is tried again, unless it forbids that", async () => {
  const p = new FakePlatform();
  const results: (() => string)[] = [
    () => "first",
    () => { throw new Error("no network"); },
    () => 7 as unknown as string,
    () => "\ud800",
    () => { throw new RollcallError(2003, "signed out"); },
  ];
  const client = await p.online({ token: () => (results.shift() as () => string)() });
  const states = statesOf(client);
  await p.peer.hangUp();
  await p.clock.advance(60_000);
  assert.deepEqual(states, ["online", ...Array<string>(4).fill("reconnecting 1001"), "closed 2003", "end"]);
  assert.equal(p.peers.length, 1);
});

test("options and addresses that make no sense are TypeErrors", async () => {
  const p = new FakePlatform();
  for (const options of [
    { user: "_x" }, { user: "a\n" }, { device: 65536 }, { device: -1 }, { token: "t" as never }, { fields: { token: "t" } }, { fields: { session: "s" } },
    { maxBody: 0 }, { maxInbound: -1 }, { connectTimeout: 0 }, { reconnect: { min: -1 } }, { reconnect: { max: Number.NaN } },
    { fields: { a: 1 as never } }, { onHandlerError: 1 as never },
  ]) {
    const { connected } = await p.begin(options);
    await assert.rejects(connected, TypeError, JSON.stringify(options));
  }
  for (const url of [
    "a:9000", "http://a:9000", "tcp://a", "tls://a:0", "tcp://a:9000/x", "tcp://a:9000?x", "tcp://a:70000", "wss://u:p@a/", "ws://a/#x", "tcp://:9000", "",
  ]) {
    const { connected } = await p.begin({}, url);
    await assert.rejects(connected, TypeError, url);
  }
  assert.equal(p.attempts.length, 0);
});

test("addresses are read", async () => {
  for (const [url, want] of [
    ["tcp://127.0.0.1:9000", { scheme: "tcp", host: "127.0.0.1", port: 9000, path: "" }],
    ["TLS://Example.org:9", { scheme: "tls", host: "example.org", port: 9, path: "" }],
    ["ws://a", { scheme: "ws", host: "a", port: 80, path: "/" }],
    ["wss://[::1]:80/p?q=1", { scheme: "wss", host: "::1", port: 80, path: "/p?q=1" }],
    ["wss://a/rc", { scheme: "wss", host: "a", port: 443, path: "/rc" }],
  ] as const) {
    const p = new FakePlatform();
    await p.begin({}, url);
    assert.deepEqual(p.peer.address, want);
  }
});
