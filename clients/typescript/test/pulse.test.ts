import assert from "node:assert/strict";
import { test } from "node:test";
import { HEARTBEAT, REPLY } from "../dist/frame.js";
import { Pulse } from "../dist/pulse.js";
import { FakePlatform, settle, statesOf, utf8, type Peer } from "./support.js";

const beats = (peer: Peer): ("beat" | "ask")[] => peer.ofType(HEARTBEAT).map((f) => (f.id === 0 ? "beat" : "ask"));

/** answering lets time pass in which the server answers each question. */
async function answering(p: FakePlatform, ms: number): Promise<void> {
  const answered = new Set<number>();
  for (const end = p.clock.time + ms; p.clock.time < end; ) {
    await p.clock.advance(50);
    for (const f of p.peer.ofType(HEARTBEAT)) {
      if (f.id !== 0 && !answered.has(f.id)) {
        answered.add(f.id);
        await p.peer.send({ type: HEARTBEAT, flags: REPLY, id: f.id });
      }
    }
  }
}

test("a client that is silent for heartbeat-ms sends a heartbeat", async () => {
  const p = new FakePlatform();
  const client = await p.online({}, { "heartbeat-ms": "1000" });
  await p.clock.advance(900);
  assert.deepEqual(beats(p.peer), []);
  await client.send(1, utf8("not silent"));
  await p.peer.send({ type: 1 }); // so that there is nothing to ask
  await p.clock.advance(900);
  assert.deepEqual(beats(p.peer), []);
  await p.clock.advance(100);
  assert.equal(beats(p.peer).length, 1);
});

test("heartbeat-ms is 10 s without one, and 100 at least", async () => {
  for (const [told, first] of [[undefined, 10_000], ["0", 10_000], ["x", 10_000], ["1", 100], ["100", 100], ["250", 250], ["99999999999", 86_400_000]] as const) {
    const p = new FakePlatform();
    await p.online({}, told === undefined ? {} : { "heartbeat-ms": told });
    while (p.peer.ofType(HEARTBEAT).length === 0) {
      await p.clock.advance(first / 10);
    }
    assert.equal(p.clock.time, first, told);
  }
});

test("a silent server is asked, and the connection lost when it does not answer", async () => {
  const p = new FakePlatform();
  const states = statesOf(await p.online({}, { "heartbeat-ms": "2000" }));
  await p.clock.advance(2_000);
  assert.deepEqual(beats(p.peer), ["ask"]);
  await p.clock.advance(3_900);
  assert.deepEqual(states, ["online"]);
  await p.clock.advance(150);
  assert.deepEqual(states, ["online", "reconnecting 1001"]);
  assert.ok(p.peers[0]?.closed);
});

test("each byte of the server is a sign of life", async () => {
  const p = new FakePlatform();
  const states = statesOf(await p.online({}, { "heartbeat-ms": "2000" }));
  await answering(p, 60_000);
  assert.deepEqual(states, ["online"]);
  for (let n = 0; n < 16; n++) {
    await p.clock.advance(3_000);
    await p.peer.bytes(Uint8Array.of([0x52, 0x10, 0, 1][n] ?? 0)); // one frame, very slowly
  }
  assert.deepEqual(states, ["online"]);
});

test("a heartbeat of the server is answered if it has an ID", async () => {
  const p = new FakePlatform();
  await p.online();
  await p.peer.send({ type: HEARTBEAT, id: 77 });
  await p.peer.send({ type: HEARTBEAT });
  assert.deepEqual(p.peer.ofType(HEARTBEAT).map((f) => [f.flags, f.id]), [[REPLY, 77]]);
});

test("after a standstill the server is asked again before it is given up", async () => {
  const p = new FakePlatform();
  const client = await p.online({}, { "heartbeat-ms": "2000" });
  await p.clock.advance(2_000); // asked
  p.clock.standStill(60_000);
  await p.clock.advance(0);
  assert.equal(client.state.state, "online");
  assert.deepEqual(beats(p.peer), ["ask", "ask"]);
  await p.clock.advance(2_000);
  assert.equal(client.state.state, "reconnecting");
});

test("a hidden page sends a heartbeat a minute, and does not take the server for silent", async () => {
  const p = new FakePlatform();
  const client = await p.online({}, { "heartbeat-ms": "1000" });
  p.shown = false;
  await p.clock.advance(49_000);
  assert.deepEqual(beats(p.peer), []);
  await p.clock.advance(551_000);
  assert.deepEqual(beats(p.peer), new Array(12).fill("beat"));
  assert.equal(client.state.state, "online");
  p.shown = true;
  p.page?.wake();
  await settle();
  assert.deepEqual(beats(p.peer).slice(12), ["ask"], "at once");
});

test("a page that wakes up gives the server 3 s", async () => {
  const p = new FakePlatform();
  const client = await p.online({}, { "heartbeat-ms": "3600000" });
  p.page?.wake();
  await p.clock.advance(2_900);
  await p.peer.send({ type: HEARTBEAT, flags: REPLY, id: p.peer.sent.at(-1)?.id ?? 0 });
  await p.clock.advance(10_000);
  assert.equal(client.state.state, "online");
  p.page?.wake();
  await p.clock.advance(2_999);
  assert.equal(client.state.state, "online");
  await p.clock.advance(1);
  assert.equal(client.state.state, "reconnecting");
});

test("a page that stood still while it waited for the answer asks once more", async () => {
  const p = new FakePlatform();
  const client = await p.online({}, { "heartbeat-ms": "3600000" });
  p.page?.wake();
  await settle();
  p.clock.standStill(100_000);
  await p.clock.advance(2_999);
  assert.deepEqual([client.state.state, beats(p.peer)], ["online", ["ask", "ask"]]);
  await p.clock.advance(1);
  assert.equal(client.state.state, "reconnecting");
});

test("a page that wakes up reconnects at once, but not before retry-ms", async () => {
  const p = new FakePlatform();
  await p.online({ reconnect: { min: 20_000 } });
  await p.peer.hangUp();
  await p.clock.advance(1_000);
  p.page?.wake();
  await settle();
  assert.deepEqual(p.attempts, [0, 1_000]);
  await p.peer.refuse(1004, "", { "retry-ms": "5000" });
  p.page?.wake();
  await p.clock.advance(4_999);
  assert.equal(p.attempts.length, 2);
  await p.clock.advance(1);
  assert.deepEqual(p.attempts, [0, 1_000, 6_000]);
  p.page?.wake(); // during the logon
  await p.peer.refuse(1004, "", { "retry-ms": "5000" });
  await p.clock.advance(4_999);
  assert.equal(p.attempts.length, 3);
  await p.clock.advance(1);
  assert.equal(p.attempts.length, 4);
});

test("a page that is left has no connection until it is shown again", async () => {
  const p = new FakePlatform();
  const client = await p.online();
  const states = statesOf(client);
  p.page?.leave();
  await p.clock.advance(100_000);
  assert.ok(p.peer.closed);
  assert.deepEqual([states, p.attempts.length], [["online", "reconnecting 1001"], 1]);
  p.page?.back();
  await settle();
  assert.deepEqual(p.attempts, [0, 100_000]);
  p.page?.leave(); // during the logon
  await settle();
  assert.ok(p.peer.closed);
  await p.clock.advance(100_000);
  assert.equal(p.attempts.length, 2);
  await client.close();
  assert.equal(p.clock.timers, 0);
});

test("a standstill gives the server a third of its timeout, once in that time, and a question that is overdue is asked again", () => {
  const once = new Pulse(0, 60_000, 6_000);
  assert.deepEqual([once.wait(0), once.beat(2_000), once.wait(2_000), once.beat(4_000), once.wait(4_000)], [2_000, "ask", 2_000, "ask", 2_000]);
  assert.equal(once.beat(7_500), "ask", "it stood still");
  assert.deepEqual([once.wait(7_500), once.beat(9_500)], [2_000, "lost"]);

  const twice = new Pulse(0, 60_000, 6_000);
  twice.wait(0);
  assert.equal(twice.beat(8_000), "ask");
  twice.wait(8_000);
  assert.equal(twice.beat(12_500), "ask", "the answer to the last question may be unread");
});

test("what passes while a page is hidden is neither silence nor a standstill", () => {
  const p = new Pulse(0, 1_000, 6_000);
  for (let now = 0; now < 600_000; now += 1_000) {
    assert.equal(p.postpone(now), 1_000);
  }
  assert.equal(p.beat(600_000), "beat");
});
