import assert from "node:assert/strict";
import { test } from "node:test";
import { Backoff } from "../dist/backoff.js";
import { networkError } from "../dist/errors.js";
import { CLOSE } from "../dist/frame.js";
import { FakePlatform, settle, statesOf } from "./support.js";

test("the backoff is spread over a limit that doubles eight times at most", () => {
  let chance = 0;
  const limits = (min: number, max: number) => {
    const b = new Backoff(min, max, () => chance);
    return Array.from({ length: 12 }, () => b.next());
  };
  assert.deepEqual(limits(200, 30_000), Array(12).fill(0));
  chance = 0.5;
  assert.deepEqual(limits(200, 30_000), [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 15_000, 15_000, 15_000, 15_000]);
  assert.deepEqual(limits(1, Infinity), [0.5, 1, 2, 4, 8, 16, 32, 64, 128, 128, 128, 128]);
});

test("attempts wait for the backoff", async () => {
  const p = new FakePlatform();
  await p.online();
  p.broken = networkError("refused");
  await p.peer.hangUp();
  await p.clock.advance(3_000);
  assert.deepEqual(p.attempts, [0, 100, 300, 700, 1500]);
});

test("the class of a code decides about reconnecting", async () => {
  for (const [code, again] of [
    [1000, true], [1001, true], [1010, true], [1999, true], [2000, false], [2002, false], [2999, false],
    [3000, true], [3999, true], [4000, false], [4999, false], [5000, false], [9999, false], [0, false], [65535, false],
  ] as const) {
    const p = new FakePlatform();
    const client = await p.online();
    const states = statesOf(client);
    await p.peer.closeWith(code, "why");
    assert.ok(p.peer.closed, "the client closes at once");
    await p.clock.advance(1_000);
    assert.deepEqual(states, again ? ["online", `reconnecting ${code}`] : ["online", `closed ${code}`, "end"]);
    assert.equal(p.peers.length, again ? 2 : 1, String(code));
    if (!again) {
      assert.equal(p.clock.timers, 0);
      assert.equal(p.page, undefined);
    }
  }
});

test("a refusal while reconnecting counts as a Close does", async () => {
  const p = new FakePlatform();
  const states = statesOf(await p.online());
  await p.peer.hangUp();
  await p.clock.advance(1_000);
  await p.peer.refuse(2000, "logged on from elsewhere");
  assert.deepEqual(states, ["online", "reconnecting 1001", "closed 2000", "end"]);
});

test("AlreadyLoggedOn while reconnecting is tried again until the heartbeat timeout has passed", async () => {
  const p = new FakePlatform();
  const states = statesOf(await p.online({ reconnect: { min: 2_000, max: 2_000 } }, { "heartbeat-ms": "1000" }));
  await p.peer.hangUp();
  for (let n = 0; n < 3; n++) {
    await p.clock.advance(1_000);
    await p.peer.refuse(2001, "online already");
  }
  assert.deepEqual(states, ["online", "reconnecting 1001", "reconnecting 2001", "reconnecting 2001", "closed 2001", "end"]);
  assert.deepEqual(p.attempts, [0, 1000, 2000, 3000]);
});

test("AlreadyLoggedOn in a Close of a living session ends the client", async () => {
  const p = new FakePlatform();
  const states = statesOf(await p.online());
  await p.peer.closeWith(2001);
  assert.deepEqual(states, ["online", "closed 2001", "end"]);
});

test("retry-ms comes before the backoff, and is an hour at most", async () => {
  for (const [told, waited] of [["5000", 5_100], ["99999999999999999999", 3_600_100], ["-5", 100], ["1e3", 100], ["", 100], ["x", 100]] as const) {
    const p = new FakePlatform();
    await p.online();
    await p.peer.closeWith(1004, "", { "retry-ms": told });
    await p.clock.advance(4_000_000);
    assert.equal(p.attempts[1], waited, told);
  }
});

test("the backoff begins anew when a connection has lasted", async () => {
  const p = new FakePlatform();
  await p.online();
  const lose = async (after: number) => {
    await p.clock.advance(after);
    const lost = p.clock.time;
    await p.peer.hangUp();
    const n = p.attempts.length;
    while (p.attempts.length === n) {
      await p.clock.advance(50);
    }
    await p.peer.welcome({ "heartbeat-ms": "3600000" });
    return (p.attempts.at(-1) as number) - lost;
  };
  assert.deepEqual([await lose(0), await lose(0), await lose(59_000), await lose(60_000), await lose(0)], [100, 200, 400, 100, 200]);
});

test("an address changes host and port, never the scheme or the path", async () => {
  const p = new FakePlatform();
  await p.online({}, {}, "wss://a.example:444/rc?x=1");
  await p.peer.closeWith(1004, "", { address: "b.example:900" });
  await p.clock.advance(1_000);
  assert.deepEqual(p.peer.address, { scheme: "wss", host: "b.example", port: 900, path: "/rc?x=1" });
  await p.peer.refuse(1006); // a failed attempt there: back to the address of connect
  await p.clock.advance(1_000);
  assert.equal(p.peer.address.host, "a.example");
  await p.peer.refuse(1006, "", { address: "[::1]:7" });
  await p.clock.advance(1_000);
  assert.deepEqual([p.peer.address.host, p.peer.address.port], ["::1", 7]);
});

test("an address that is none is ignored", async () => {
  for (const address of ["", "b", "b:", ":9", "b:0", "b:65536", "ws://b:9", "u@b:9", "b:9/x", "b:9?x", "b :9", "b:9\n", "::1:9", "[x]:9"]) {
    const p = new FakePlatform();
    await p.online();
    await p.peer.closeWith(1004, "", { address });
    await p.clock.advance(1_000);
    assert.deepEqual([p.peer.address.host, p.peer.address.port], ["a.example", 443], JSON.stringify(address));
  }
});

test("reconnectNow ends the backoff, and not the time that the server asked for", async () => {
  const p = new FakePlatform();
  p.chance = 0.99;
  const client = await p.online({ reconnect: { min: 10_000, max: 10_000 } });
  client.reconnectNow(); // does nothing: it is online
  await p.peer.closeWith(1004, "", { "retry-ms": "3000" });
  client.reconnectNow();
  await p.clock.advance(20_000);
  assert.deepEqual(p.attempts, [0, 3000]);
  await p.peer.refuse(1006);
  await p.clock.advance(500);
  client.reconnectNow();
  await settle();
  assert.deepEqual(p.attempts, [0, 3000, 18_500 + 2_000]);
});

test("without reconnect the client ends with its first connection", async () => {
  const p = new FakePlatform();
  const states = statesOf(await p.online({ reconnect: false }));
  await p.peer.hangUp();
  assert.deepEqual(states, ["online", "closed 1001", "end"]);
});

test("the text says how a connection has ended", async () => {
  for (const [bytes, want] of [[[], "without a Close"], [[0x52], "within a frame"]] as const) {
    const p = new FakePlatform();
    const client = await p.online();
    await p.peer.bytes(Uint8Array.from(bytes));
    await p.peer.hangUp();
    const { state } = client;
    assert.match(state.state === "reconnecting" ? state.error.text : "", new RegExp(want));
  }
});

test("a frame that breaks the protocol ends the client, and the server is told why", async () => {
  const p = new FakePlatform();
  const client = await p.online();
  const states = statesOf(client);
  await p.peer.bytes(Uint8Array.of(0x47));
  const [close] = p.peer.ofType(CLOSE);
  assert.deepEqual([...(close?.body.subarray(0, 2) ?? [])], [2004 >> 8, 2004 & 255]);
  assert.ok(p.peer.ended && !p.peer.closed);
  await p.clock.advance(3_000); // the server does not end its side
  assert.ok(p.peer.closed);
  assert.deepEqual(states, ["online", "closed 2004", "end"]);
  await assert.rejects(client.send(1, new Uint8Array()), { kind: "closed" });
});

test("max-body holds both ways", async () => {
  const small = new FakePlatform();
  const client = await small.online({}, { "max-body": "100" });
  await client.send(1, new Uint8Array(100));
  await assert.rejects(client.send(1, new Uint8Array(101)), { kind: "too-large", code: 2006 });
  await assert.rejects(client.request(1, new Uint8Array(101)), { kind: "too-large" });

  const own = new FakePlatform();
  const limited = await own.online({ maxBody: 50 }, { "max-body": "100" });
  await assert.rejects(limited.send(1, new Uint8Array(51)), { kind: "too-large" });
  const states = statesOf(limited);
  await own.peer.send({ type: 1, body: new Uint8Array(100) }); // the server may send as much as it says
  assert.deepEqual(states, ["online"]);
  await own.peer.send({ type: 1, body: new Uint8Array(101) });
  await own.peer.hangUp();
  assert.deepEqual(states, ["online", "closed 2006", "end"]);
});
