import assert from "node:assert/strict";
import { test } from "node:test";
import { parsePushAck } from "../dist/bodies.js";
import { PUSH, PUSH_ACK } from "../dist/frame.js";
import type { State } from "../dist/states.js";
import { FakePlatform, frameBytes, settle, statesOf, text, utf8, type Peer } from "./support.js";

/** pushBody returns the body of a text push. */
function pushBody(n: number, confirm = true): Uint8Array {
  const b = new Uint8Array(16 + 2 + 8 + 1 + 1 + 1);
  new DataView(b.buffer).setUint32(12, n);
  b.set([1, confirm ? 1 : 0], 16);
  b[28] = 0x78;
  return b;
}
const push = (peer: Peer, n: number, confirm = true): Promise<void> => peer.send({ type: PUSH, body: pushBody(n, confirm) });
const acks = (peer: Peer): number[] => peer.ofType(PUSH_ACK).map((f) => Number.parseInt(parsePushAck(f.body).slice(-8), 16));

test("what comes right behind the logon's reply is not lost", async () => {
  const p = new FakePlatform();
  const { connected } = await p.begin();
  const got: string[] = [];
  const whole = [frameBytes({ type: 0xff01, flags: 1, id: 1, body: Uint8Array.of(0, 0) }), frameBytes({ type: 1, body: utf8("m") }),
    frameBytes({ type: PUSH, body: pushBody(1) })];
  const delivered = p.peer.bytes(Uint8Array.from(whole.flatMap((b) => [...b])));
  const client = await connected;
  client.on(1, (m) => void got.push(text(m.body)));
  client.onPush((m) => void got.push(text(m.body)));
  await delivered;
  await settle();
  assert.deepEqual(got, ["m", "x"]);
  assert.deepEqual(acks(p.peer), [1]);
});

test("handlers run one at a time, in order", async () => {
  const p = new FakePlatform();
  const client = await p.online();
  const log: string[] = [];
  const goOn: (() => void)[] = [];
  client.on(1, async (m) => {
    log.push(`+${text(m.body)}`);
    await new Promise<void>((resolve) => goOn.push(resolve));
    log.push(`-${text(m.body)}`);
  });
  client.on(2, (m) => void log.push(text(m.body)));
  for (const [type, body] of [[1, "a"], [2, "b"], [1, "c"]] as const) {
    await p.peer.send({ type, body: utf8(body) });
  }
  assert.deepEqual(log, ["+a"]);
  goOn.shift()?.();
  await settle();
  assert.deepEqual(log, ["+a", "-a", "b", "+c"]);
});

test("states come in order with the messages", async () => {
  const p = new FakePlatform();
  const client = await p.online();
  const log = statesOf(client);
  client.on(1, (m) => void log.push(text(m.body)));
  await settle();
  await p.peer.bytes(Uint8Array.from([frameBytes({ type: 1, body: utf8("a") }), frameBytes({ type: 0xff02, body: Uint8Array.of(3, 232, 0, 0) })].flatMap((b) => [...b])));
  await p.clock.advance(1_000);
  await p.peer.bytes(Uint8Array.from([frameBytes({ type: 0xff01, flags: 1, id: 1, body: Uint8Array.of(0, 0) }), frameBytes({ type: 1, body: utf8("b") })].flatMap((b) => [...b])));
  assert.deepEqual(log, ["online", "a", "reconnecting 1000", "online", "b"]);
});

test("a push is acknowledged when its handler has finished, and only if that is asked for", async () => {
  const p = new FakePlatform();
  const client = await p.online();
  let finish = () => {};
  client.onPush(() => new Promise((resolve) => (finish = resolve)));
  await push(p.peer, 1);
  assert.deepEqual(acks(p.peer), []);
  finish();
  await settle();
  assert.deepEqual(acks(p.peer), [1]);
  await push(p.peer, 2, false);
  finish();
  await settle();
  assert.deepEqual(acks(p.peer), [1]);
});

test("a push whose handler fails is not acknowledged, and is handed out again", async () => {
  const p = new FakePlatform();
  const client = await p.online();
  let n = 0;
  client.onPush(async () => {
    if (++n === 1) {
      throw new Error("later");
    }
  });
  await push(p.peer, 1);
  assert.deepEqual(acks(p.peer), []);
  await push(p.peer, 1);
  assert.deepEqual([n, acks(p.peer)], [2, [1]]);
});

test("a push that comes again is acknowledged again, and not handed out, over a reconnect too", async () => {
  const p = new FakePlatform();
  const client = await p.online();
  const got: string[] = [];
  client.onPush((m) => void got.push(m.id.slice(-2)));
  await push(p.peer, 1);
  await push(p.peer, 1);
  await p.peer.hangUp();
  await p.clock.advance(1_000);
  await p.peer.welcome();
  await push(p.peer, 1);
  assert.deepEqual(got, ["01"]);
  assert.deepEqual(p.peers.map(acks), [[1, 1], [1]]);
});

test("without a connection the acknowledgement goes out on the next one", async () => {
  const p = new FakePlatform();
  const client = await p.online();
  let finish = () => {};
  client.onPush(() => new Promise((resolve) => (finish = resolve)));
  await push(p.peer, 1);
  await p.peer.hangUp();
  finish();
  await p.clock.advance(1_000);
  await p.peer.welcome();
  assert.deepEqual(p.peers.map(acks), [[], [1]]);
});

test("1,024 pushes are remembered", async () => {
  const p = new FakePlatform();
  const client = await p.online();
  let n = 0;
  client.onPush(() => void n++);
  const feed = (from: number, to: number) =>
    p.peer.bytes(Uint8Array.from(Array.from({ length: to - from }, (_, i) => [...frameBytes({ type: PUSH, body: pushBody(from + i) })]).flat()));
  await feed(1, 1026);
  assert.equal(n, 1025);
  await feed(2, 1026);
  assert.equal(n, 1025);
  await push(p.peer, 1); // the oldest was forgotten
  assert.equal(n, 1026);
});

test("without a handler pushes are dropped, and not acknowledged", async () => {
  const p = new FakePlatform();
  await p.online();
  await push(p.peer, 1);
  assert.deepEqual(acks(p.peer), []);
});

test("a client whose handlers are behind stops reading, unless it waits for a reply", async () => {
  const p = new FakePlatform();
  const client = await p.online({ maxInbound: 1000 }, { "heartbeat-ms": "1000" });
  const stateNow = (): State => client.state;
  let finish = () => {};
  client.on(1, () => new Promise((resolve) => (finish = resolve)));
  for (let n = 0; n < 10; n++) {
    await p.peer.send({ type: 1, body: new Uint8Array(100) });
  }
  assert.ok(p.peer.paused);
  await p.clock.advance(60_000); // that is not the server's silence
  assert.equal(stateNow().state, "online");
  client.request(2, utf8("")).catch(() => {});
  await settle();
  assert.ok(!p.peer.paused, "the reply may be behind the messages");
  for (let n = 0; n < 30; n++) {
    await p.peer.send({ type: 1, body: new Uint8Array(100) });
  }
  const state = stateNow();
  assert.ok(state.state === "reconnecting" && state.error.code === 1007);
  finish();
});

test("reading goes on when the handlers have caught up", async () => {
  const p = new FakePlatform();
  const client = await p.online({ maxInbound: 1000 });
  const finish: (() => void)[] = [];
  let handled = 0;
  client.on(1, () => {
    handled++;
    return new Promise<void>((resolve) => finish.push(resolve));
  });
  for (let n = 0; n < 6; n++) {
    await p.peer.send({ type: 1, body: new Uint8Array(100) });
  }
  assert.ok(p.peer.paused);
  while (handled < 6) {
    finish.shift()?.();
    await settle();
  }
  assert.ok(!p.peer.paused);
});

test("a loop over states sees the latest one first, and ends with closed, return or its signal", async () => {
  const p = new FakePlatform();
  const client = await p.online();
  const stop = new AbortController();
  const stopped = client.states({ signal: stop.signal });
  assert.deepEqual((await stopped.next()).value, { state: "online", user: "alice" });
  const waiting = stopped.next();
  stop.abort(new Error("enough"));
  await assert.rejects(waiting, /enough/);
  await assert.rejects(client.states({ signal: stop.signal }).next(), /enough/);
  for await (const s of client.states()) {
    assert.equal(s.state, "online");
    break;
  }
  const slow = client.states();
  p.broken = undefined;
  await p.peer.hangUp();
  await p.clock.advance(150);
  for (let n = 0; n < 400; n++) {
    await p.peer.refuse(1006);
    await p.clock.advance(16_000);
  }
  await p.peer.refuse(2003);
  const kept = await all(slow);
  assert.equal(kept.length, 256);
  assert.equal(kept.at(-1)?.state, "closed");
  assert.deepEqual((await all(client.states())).map((s) => s.state), ["closed"]);
});

async function all<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of stream) {
    items.push(item);
  }
  return items;
}
