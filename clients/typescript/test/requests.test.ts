import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeClose, encodeIDs, parseClose } from "../dist/bodies.js";
import { RollcallError } from "../dist/errors.js";
import { ERROR, REPLY, WHO_IS_ONLINE, type Frame } from "../dist/frame.js";
import { FakePlatform, settle, text, utf8, type Peer } from "./support.js";

const last = (peer: Peer): Frame => peer.sent.at(-1) as Frame;

test("a request gets the reply with its ID", async () => {
  const p = new FakePlatform();
  const client = await p.online();
  const first = client.request(3, utf8("a"), { to: "bob" });
  await settle();
  const { id } = last(p.peer);
  const second = client.request(3, utf8("b"));
  await settle();
  assert.notEqual(last(p.peer).id, id);
  assert.deepEqual([last(p.peer).user, last(p.peer).to, text(last(p.peer).body)], ["", "", "b"]);
  await p.peer.send({ type: 3, flags: REPLY, id: last(p.peer).id, body: utf8("for b") });
  await p.peer.send({ type: 3, flags: REPLY, id, user: "bob", body: utf8("for a") });
  assert.deepEqual([await first, await second], [{ from: "bob", body: utf8("for a") }, { from: "", body: utf8("for b") }]);
});

test("IDs begin anywhere, and leave out 0 and those of open requests", async () => {
  const p = new FakePlatform();
  p.chance = 0xfffffffe / 0x100000000;
  const client = await p.online();
  for (let i = 0; i < 3; i++) {
    client.request(1, utf8("")).catch(() => {});
  }
  await settle();
  assert.deepEqual(p.peer.ofType(1).map((f) => f.id), [0xffffffff, 1, 2]);
});

test("a reply counts from the user who was asked, or from the server", async () => {
  const p = new FakePlatform();
  const client = await p.online();
  const asked = client.request(1, utf8(""), { to: "bob" });
  asked.catch(() => {});
  await settle();
  const { id } = last(p.peer);
  await p.peer.send({ type: 1, flags: REPLY, id, user: "eve", body: utf8("eve's") });
  await p.peer.send({ type: 1, flags: REPLY, id: id + 1, user: "bob" });
  await p.peer.send({ type: 1, flags: REPLY | ERROR, id, body: encodeClose(5000, "bob is offline", new Map([["retry-ms", "9"]])) });
  await assert.rejects(asked, (e) => e instanceof RollcallError && e.kind === "refused" && e.code === 5000 && e.info.get("retry-ms") === "9");
  await p.peer.send({ type: 1, flags: REPLY, id, user: "bob" }); // a second answer is dropped
});

test("an error reply that cannot be read fails its request alone", async () => {
  const p = new FakePlatform();
  const client = await p.online();
  const asked = client.request(1, utf8(""));
  asked.catch(() => {});
  await settle();
  await p.peer.send({ type: 1, flags: REPLY | ERROR, id: last(p.peer).id, body: utf8("x") });
  await assert.rejects(asked, { code: 2004 });
  assert.equal(client.state.state, "online");
});

test("a request ends with its timeout, its signal, and its connection", async () => {
  const p = new FakePlatform();
  const client = await p.online();
  const late = client.request(1, utf8(""), { timeout: 100 });
  const standard = client.request(1, utf8(""));
  const stop = new AbortController();
  const stopped = client.request(1, utf8(""), { signal: stop.signal, timeout: Infinity });
  const lost = client.request(1, utf8(""), { timeout: 60_000 });
  for (const r of [late, standard, stopped, lost]) {
    r.catch(() => {});
  }
  await p.clock.advance(100);
  await assert.rejects(late, { kind: "timeout", code: 5004 });
  stop.abort(new Error("enough"));
  await assert.rejects(stopped, /enough/);
  await assert.rejects(client.request(1, utf8(""), { signal: stop.signal }), /enough/);
  for (let i = 0; i < 10; i++) {
    await p.clock.advance(3_000);
    await p.peer.send({ type: 0xff00 });
  }
  await assert.rejects(standard, { kind: "timeout" });
  await p.peer.closeWith(2002, "enough");
  await assert.rejects(lost, (e) => e instanceof RollcallError && e.kind === "disconnected" && (e.cause as RollcallError).code === 2002);
  for (const timeout of [0, -1, Number.NaN, "5" as never]) {
    await assert.rejects(client.request(1, utf8(""), { timeout }), TypeError);
  }
  assert.equal(p.clock.timers, 0);
});

test("what cannot be sent is a TypeError, and the connection stays", async () => {
  const p = new FakePlatform();
  const client = await p.online();
  for (const type of [0, -1, 0xff00, 0xff01, 0xffff, 0x10000, 1.5, "1" as never]) {
    await assert.rejects(client.send(type, utf8("")), TypeError);
    await assert.rejects(client.request(type, utf8("")), TypeError);
    assert.throws(() => client.on(type, () => {}), TypeError);
  }
  await assert.rejects(client.send(1, "text" as never), TypeError);
  await assert.rejects(client.send(1, utf8(""), { to: "a\n" }), TypeError);
  await assert.rejects(client.request(1, utf8(""), { to: "\ud800" }), TypeError);
  await assert.rejects(client.whoIsOnline(["a", ""]), TypeError);
  await assert.rejects(client.whoIsOnline(Array<string>(1001).fill("a")), TypeError);
  assert.throws(() => client.on(1, undefined as never), TypeError);
  await settle();
  assert.equal(p.peer.sent.length, 1);
  assert.equal(p.clock.timers, 1); // the heartbeat's
});

test("who is online", async () => {
  const p = new FakePlatform();
  const client = await p.online();
  const asked = client.whoIsOnline(["carol", "bob"]);
  await settle();
  assert.deepEqual([last(p.peer).type, last(p.peer).body], [WHO_IS_ONLINE, encodeIDs(["carol", "bob"])]);
  await p.peer.send({ type: WHO_IS_ONLINE, flags: REPLY, id: last(p.peer).id, body: encodeIDs(["bob"]) });
  assert.deepEqual(await asked, ["bob"]);
});

test("sending waits while too much waits for the network", async () => {
  const p = new FakePlatform();
  const client = await p.online();
  p.peer.buffered = 300 << 10;
  let sent = false;
  const waiting = client.send(1, utf8("a")).then(() => (sent = true));
  const stop = new AbortController();
  const stopped = client.send(1, utf8("b"), { signal: stop.signal });
  stop.abort(new Error("enough"));
  await assert.rejects(stopped, /enough/);
  await settle();
  assert.equal(sent, false);
  p.peer.drain();
  await waiting;
  assert.deepEqual(p.peer.ofType(1).map((f) => text(f.body)), ["a", "b"]);
  p.peer.buffered = 300 << 10;
  const lost = client.send(1, utf8("c"));
  await Promise.all([assert.rejects(lost, { kind: "disconnected" }), p.peer.hangUp()]);
  await assert.rejects(client.send(1, utf8("d")), { kind: "not-connected" });
});

test("a request of the server is answered once", async () => {
  const p = new FakePlatform();
  const client = await p.online();
  client.on(1, async (m) => {
    assert.ok(m.isRequest);
    await m.reply(utf8(`re: ${text(m.body)}`));
    await assert.rejects(m.reply(utf8("again")));
    throw new Error("after the answer");
  });
  await p.peer.send({ type: 1, id: 7, user: "bob", body: utf8("hi") });
  const answers = p.peer.ofType(1);
  assert.deepEqual(answers.map((f) => [f.flags, f.id, f.to, text(f.body)]), [[REPLY, 7, "bob", "re: hi"]]);
});

test("what a handler throws is the answer", async () => {
  const p = new FakePlatform();
  const errors: unknown[] = [];
  const client = await p.online({ onHandlerError: (e) => { errors.push(e); throw e; } });
  const thrown = [new RollcallError(4001, "no", { info: new Map([["k", "v"]]) }), new RollcallError(2002, "not for requests"), new Error("secret"), "text"];
  for (const [i, error] of thrown.entries()) {
    client.on(i + 1, i % 2 === 0 ? () => { throw error; } : async () => { throw error; });
    await p.peer.send({ type: i + 1, id: i + 1 });
    await p.peer.send({ type: i + 1 }); // no request: no answer
  }
  const answers = p.peer.sent.slice(1).map((f) => parseClose(f.body, "refused"));
  assert.deepEqual(answers.map((e) => [e.code, e.text, e.info.get("k")]), [[4001, "no", "v"], ...Array<unknown>(3).fill([5002, "", undefined])]);
  assert.deepEqual(errors, thrown.flatMap((e) => [e, e]));
});

test("an error that cannot be sent becomes HandlerFailed, and the next message is handled", async () => {
  const p = new FakePlatform();
  const client = await p.online();
  const broken = new RollcallError(3001, "no", { info: new Map([["key", "half of a pair: \ud800"]]) });
  client.on(1, () => {
    throw broken;
  });
  client.on(2, async () => {
    throw broken;
  });
  client.on(3, (m) => m.reply(utf8("ok")));
  for (const type of [1, 2, 3]) {
    await p.peer.send({ type, id: 7 });
  }
  assert.deepEqual(p.peer.sent.slice(1).map((f) => [f.type, f.flags]), [[1, REPLY | ERROR], [2, REPLY | ERROR], [3, REPLY]]);
  assert.deepEqual(p.peer.sent.slice(1, 3).map((f) => parseClose(f.body, "refused").code), [5002, 5002]);
  assert.equal(client.state.state, "online");
});

test("requests without a handler are answered NoHandler if the server asks, and may be refused later", async () => {
  const p = new FakePlatform();
  const client = await p.online();
  await p.peer.send({ type: 9, id: 1 });
  await p.peer.send({ type: 9, id: 2, user: "bob" }); // another session of this user may answer
  await p.peer.send({ type: 9 });
  client.on(9, (m) => void setImmediate(() => m.refuse(5003, "no")));
  await p.peer.send({ type: 9, id: 3 });
  client.off(9);
  await p.peer.send({ type: 9, id: 4 });
  assert.deepEqual(p.peer.ofType(9).map((f) => [f.id, parseClose(f.body, "refused").code]), [[1, 5001], [3, 5003], [4, 5001]]);
});

test("an answer that is too large becomes HandlerFailed, and a code for connections is refused", async () => {
  const p = new FakePlatform();
  const client = await p.online({}, { "max-body": "10" });
  client.on(1, async (m) => {
    await assert.rejects(m.refuse(2999), TypeError);
    await assert.rejects(m.refuse(65_536), TypeError);
    await assert.rejects(m.reply(new Uint8Array(11)), { kind: "too-large" });
  });
  await p.peer.send({ type: 1, id: 5 });
  assert.deepEqual(p.peer.ofType(1).map((f) => f.flags), [], "an error reply with a text over max-body");
});
