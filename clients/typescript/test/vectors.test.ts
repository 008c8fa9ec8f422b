// Every vector of protocol/testdata/vectors.txt, whose first lines say what the columns are.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import {
  encodeClose, encodeIDs, encodeMap, encodePushAck, parseClose, parseIDs, parseLogonReply, parseMap, parsePush, parsePushAck, type StringMap,
} from "../dist/bodies.js";
import { RollcallError } from "../dist/errors.js";
import { FrameReader, decodeFrame, type Frame, type Limits } from "../dist/frame.js";
import { settingsOf } from "../dist/options.js";
import { frameBytes, hex, text, unhex } from "./support.js";

const file = new URL("../../../protocol/testdata/vectors.txt", import.meta.url);
const lines = readFileSync(file, "utf8").split("\n").filter((l) => l !== "" && !l.startsWith("#"));
const vectors = lines.map((l) => l.split("\t"));

const str = (h: string): string => text(unhex(h));
const list = (h: string): string[] => (h === "" ? [] : h.split(",").map(str));
const pairs = (h: string): [string, string][] => (h === "" ? [] : h.split(",").map((p) => p.split("=").map(str) as [string, string]));
const limitsOf = (body: string, frame: string): Limits => ({ maxBody: Number(body) || undefined, maxFrame: Number(frame) || undefined });
const refusedWith = (code: number) => (e: unknown) => e instanceof RollcallError && e.code === code;

/** sorted returns named values in the order of their keys' bytes. */
const sorted = (m: StringMap): [string, string][] => [...m].sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));

/** perByte feeds bytes one by one, as a slow network brings them. */
function perByte(bytes: Uint8Array, limits: Limits): Frame[] {
  const reader = new FrameReader(limits.maxBody ?? Infinity);
  const frames: Frame[] = [];
  for (const b of bytes) {
    reader.feed(Uint8Array.of(b), (f) => frames.push(f) > 0);
  }
  return frames;
}

const kinds: Record<string, (...columns: string[]) => void> = {
  frame(_direction, maxBody = "", maxFrame = "", bytes = "", type, flags, id, device, user = "", to = "", body = "") {
    const want: Frame = {
      type: Number(type), flags: Number(flags), id: Number(id), device: Number(device), user: str(user), to: str(to), body: unhex(body),
    };
    const b = unhex(bytes);
    const limits = limitsOf(maxBody, maxFrame);
    assert.deepEqual(decodeFrame(b, 0, b.length, limits), [b.length, want]);
    assert.deepEqual(perByte(b, limits), [want]);
    assert.equal(hex(frameBytes(want)), bytes);
  },
  refused(_direction, maxBody = "", maxFrame = "", bytes = "", code, at) {
    const b = unhex(bytes);
    const limits = limitsOf(maxBody, maxFrame);
    assert.throws(() => decodeFrame(b, 0, b.length, limits), refusedWith(Number(code)));
    assert.equal(typeof decodeFrame(b, 0, Number(at) - 1, limits), "number", "refused before the mistake has come");
  },
  unfinished(_direction, maxBody = "", maxFrame = "", bytes = "", need) {
    const b = unhex(bytes);
    assert.equal(decodeFrame(b, 0, b.length, limitsOf(maxBody, maxFrame)), Number(need));
  },
  map(body = "", values = "") {
    assert.deepEqual(sorted(parseMap(unhex(body))), pairs(values));
    assert.equal(hex(encodeMap(new Map(pairs(values)))), body || "00");
  },
  "logon-reply"(body = "", values = "") {
    assert.deepEqual(sorted(parseLogonReply(unhex(body), "connection")), pairs(values));
  },
  close(body = "", code, why = "", values = "") {
    const e = parseClose(unhex(body), "connection");
    assert.deepEqual([e.code, e.text, sorted(e.info)], [Number(code), str(why), pairs(values)]);
    assert.equal(hex(encodeClose(Number(code), str(why), new Map(pairs(values)))), body);
  },
  push(body = "", id, kind, name = "", confirm, time, metadata = "", content = "") {
    const { metadata: named, ...p } = parsePush(unhex(body));
    assert.deepEqual(sorted(named), pairs(metadata));
    assert.deepEqual(p, { id, kind: Number(kind), name: str(name), confirm: confirm === "1", time: Number(time), body: unhex(content) });
  },
  "push-ack"(body = "", id = "") {
    assert.equal(parsePushAck(unhex(body)), id);
    assert.equal(hex(encodePushAck(id)), body);
  },
  "id-list"(body = "", ids = "") {
    assert.deepEqual(parseIDs(unhex(body)), list(ids));
    assert.equal(hex(encodeIDs(list(ids))), body);
  },
  "bad-body"(body = "", what = "", code) {
    const parse = { map: parseMap, push: parsePush, "push-ack": parsePushAck, "id-list": parseIDs }[what];
    assert.ok(parse, what);
    assert.throws(() => parse(unhex(body)), refusedWith(Number(code)));
  },
  encode(what = "", type, flags, id, device, user = "", to = "", argument = "", why = "", info = "", bytes = "") {
    const bodies: Record<string, () => Uint8Array> = {
      message: () => unhex(argument),
      reply: () => unhex(argument),
      logon: () => encodeMap(new Map(pairs(argument))),
      renew: () => encodeMap(new Map(pairs(argument))),
      close: () => encodeClose(Number(argument), str(why), new Map(pairs(info))),
      "error-reply": () => encodeClose(Number(argument), str(why), new Map(pairs(info))),
      "push-ack": () => encodePushAck(argument),
      "who-is-online": () => encodeIDs(list(argument)),
      heartbeat: () => new Uint8Array(),
      "heartbeat-reply": () => new Uint8Array(),
    };
    const body = bodies[what];
    assert.ok(body, what);
    const frame = { type: Number(type), flags: Number(flags), id: Number(id), device: Number(device), user: str(user), to: str(to), body: body() };
    assert.equal(hex(frameBytes(frame)), bytes);
  },
  unsendable(what = "", bytes = "") {
    assert.throws(() => offer(what, bytes), TypeError);
  },
  sendable(what = "", bytes = "") {
    offer(what, bytes);
  },
};

/** offer gives the client's encoders a text. What is no UTF-8 becomes what JavaScript can hold of it: half of a surrogate pair. */
function offer(what: string, bytes: string): void {
  const [unit = "", times = "1"] = bytes.split("*");
  let s: string;
  try {
    s = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(unhex(unit)).repeat(Number(times));
  } catch {
    s = "a\ud800";
  }
  const offers: Record<string, () => unknown> = {
    user: () => settingsOf({ user: s }),
    dest: () => frameBytes({ type: 1, to: s }),
    listed: () => encodeIDs([s]),
    key: () => settingsOf({ fields: new Map([[s, ""]]) }),
    value: () => settingsOf({ fields: [["k", s]] }),
  };
  const make = offers[what];
  assert.ok(make, what);
  make();
}

for (const [kind = "", name, ...columns] of vectors) {
  test(`${kind}: ${name}`, () => {
    const check = kinds[kind];
    assert.ok(check, `an unknown kind of vector: ${kind}`);
    check(...columns);
  });
}

test("there are vectors of every kind", () => {
  assert.deepEqual([...new Set(vectors.map(([kind]) => kind))].sort(), Object.keys(kinds).sort());
});
