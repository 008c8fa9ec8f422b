import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeClose, encodeMap, parseMap } from "../dist/bodies.js";
import type { Options } from "../dist/options.js";
import { ERROR, RENEW, REPLY } from "../dist/frame.js";
import { FakePlatform } from "./support.js";

class Session {
  readonly p = new FakePlatform();
  tokens = 0;

  async begin(expires: string, options: Options = {}): Promise<void> {
    await this.p.online({ token: () => `t${++this.tokens}`, fields: { k: "v" }, device: 3, ...options },
      { session: "s1", "expires-ms": expires, "heartbeat-ms": "86400000" });
  }

  get renewals(): number {
    return this.p.peer.ofType(RENEW).length;
  }

  answer(fields: Record<string, string>): Promise<void> {
    const { id = 0 } = this.p.peer.sent.at(-1) ?? {};
    return this.p.peer.send({ type: RENEW, flags: REPLY, id, body: Uint8Array.of(0, 0, ...encodeMap(new Map(Object.entries(fields)))) });
  }

  refuse(code: number, info: Record<string, string> = {}): Promise<void> {
    const { id = 0 } = this.p.peer.sent.at(-1) ?? {};
    return this.p.peer.send({ type: RENEW, flags: REPLY | ERROR, id, body: encodeClose(code, "", new Map(Object.entries(info))) });
  }
}

test("a session that expires is renewed with a fresh token before a quarter is left", async () => {
  for (const [chance, at] of [[0, 60_000], [0.5, 67_500], [0.999999, 75_000]] as const) {
    const s = new Session();
    s.p.chance = chance;
    await s.begin("100000");
    await s.p.clock.advance(at - 1);
    assert.equal(s.renewals, 0);
    await s.p.clock.advance(1);
    assert.equal(s.renewals, 1);
    const frame = s.p.peer.sent.at(-1);
    assert.notEqual(frame?.id, 0);
    assert.equal(frame?.device, 3);
    assert.deepEqual(Object.fromEntries(parseMap(frame?.body as Uint8Array)), { token: "t2", k: "v" });
  }
});

test("the next renewal counts from the last answer, and none follows a session for good", async () => {
  const s = new Session();
  s.p.chance = 0;
  await s.begin("10000");
  await s.p.clock.advance(6_000);
  await s.p.clock.advance(1_000);
  await s.answer({ "expires-ms": "20000" });
  await s.p.clock.advance(11_999);
  assert.equal(s.renewals, 1);
  await s.p.clock.advance(1);
  assert.equal(s.renewals, 2);
  await s.answer({});
  await s.p.clock.advance(1_000_000);
  assert.equal(s.renewals, 2);
});

test("a renewal that was refused is tried again, unless the token is bad", async () => {
  for (const [code, again] of [[1008, true], [5003, true], [5002, true], [5004, true], [3001, true], [2003, false], [2001, false], [4001, false], [5001, false]] as const) {
    const s = new Session();
    await s.begin("100000");
    await s.p.clock.advance(70_000);
    await s.refuse(code);
    await s.p.clock.advance(20_000);
    assert.equal(s.renewals > 1, again, String(code));
  }
});

test("a renewal waits for retry-ms, and for the answer to the last one", async () => {
  const s = new Session();
  s.p.chance = 0;
  await s.begin("100000", { connectTimeout: 30_000 });
  await s.p.clock.advance(60_000);
  await s.refuse(1008, { "retry-ms": "9000" });
  await s.p.clock.advance(8_999);
  assert.equal(s.renewals, 1);
  await s.p.clock.advance(1);
  assert.equal(s.renewals, 2);
  await s.p.clock.advance(29_000);
  assert.equal(s.renewals, 2);
});

test("a renewal ends with its connection", async () => {
  const s = new Session();
  s.p.chance = 0;
  await s.begin("10000");
  await s.p.clock.advance(6_000);
  await s.p.peer.closeWith(1010);
  await s.p.clock.advance(1);
  assert.equal(s.tokens, 3, "one for each logon, and one for the renewal");
  await s.p.peer.welcome();
  await s.p.clock.advance(100_000);
  assert.equal(s.renewals, 0);
});

test("a session of more than 24 days is renewed in time", async () => {
  const s = new Session();
  s.p.chance = 0;
  const day = 86_400_000;
  await s.begin(String(100 * day));
  for (let n = 0; n < 60; n++) {
    assert.equal(s.renewals, 0);
    await s.p.clock.advance(day / 2);
    await s.p.peer.send({ type: 1 });
    await s.p.clock.advance(day / 2);
    await s.p.peer.send({ type: 1 });
  }
  assert.equal(s.renewals, 1);
});
