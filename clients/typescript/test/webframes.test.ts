import assert from "node:assert/strict";
import { test } from "node:test";
import { meaningOf } from "../dist/webclose.js";
import { BINARY, WebFrameReader, encodeWebFrame } from "../dist/webframes.js";
import { hex, unhex, utf8 } from "./support.js";

/** read feeds bytes in pieces of a size, and returns what they bring. */
function read(bytes: Uint8Array, size: number): { data: string; other: string[]; mid: boolean } {
  const reader = new WebFrameReader();
  let data = "";
  const other: string[] = [];
  for (let at = 0; at < bytes.length; at += size) {
    reader.feed(bytes.slice(at, at + size), {
      data: (b) => (data += hex(b)),
      ping: (b) => other.push(`ping ${hex(b)}`),
      close: (code, reason) => other.push(`close ${code} ${reason}`),
    });
  }
  return { data, other, mid: reader.midMessage };
}

test("frames are read in pieces of any size", () => {
  const long = "ab".repeat(300);
  const stream = unhex(`8203010203${"8900"}0202aabb${"890155"}8001cc${"8a00"}827e012c${long}827f000000000000000161${"880403e86f6b"}8201ff`);
  for (let size = 1; size <= stream.length; size++) {
    assert.deepEqual(read(stream, size), { data: `010203aabbcc${long}61`, other: ["ping ", "ping 55", "close 1000 ok"], mid: false });
  }
  assert.equal(read(unhex("0202aabb"), 9).mid, true);
  assert.equal(read(unhex("8203aabb"), 9).mid, true);
  assert.equal(read(unhex("82"), 9).mid, true);
  assert.deepEqual(read(unhex("8800"), 9).other, ["close 1005 "]);
});

test("frames that break RFC 6455 are InvalidMessage", () => {
  for (const bad of ["c200", "8280", "8100", "8300", "8000", "02000200", "0900", "897e0080", "8b00", "827fffffffffffffffff"]) {
    assert.throws(() => read(unhex(bad), 99), { code: 2004 }, bad);
  }
});

test("a client's frames are masked", () => {
  assert.equal(hex(encodeWebFrame(BINARY, unhex("5210ff00000000000000000100000000"), unhex("37fa213d"))), "829037fa213d65eade3d37fa213d37fa213c37fa213d");
  assert.equal(hex(encodeWebFrame(BINARY, new Uint8Array(126), new Uint8Array(4)).subarray(0, 4)), "82fe007e");
  assert.equal(hex(encodeWebFrame(BINARY, new Uint8Array(65_536), new Uint8Array(4)).subarray(0, 10)), "82ff0000000000010000");
  assert.equal(encodeWebFrame(BINARY, utf8("x"), new Uint8Array(4)).length, 7);
});

test("a Close of WebSocket has a meaning", () => {
  for (const [code, reason, want, text] of [
    [1008, "2002 KickedOut: enough", 2002, "enough"],
    [1008, "2002 KickedOut", 2002, ""],
    [3999, "3999 code 3999: x", 3999, "x"],
    [1013, "1999 OfALaterVersion: x", 1999, "x"],
    [1008, "2002 kicked", 2002, "2002 kicked"],
    [1008, "9000 Nine", 2002, "9000 Nine"],
    [1001, "", 1004, ""],
    [1012, "restart", 1004, "restart"],
    [1002, "", 2004, ""],
    [1009, "", 2006, ""],
    [1011, "", 1008, ""],
    [1013, "later", 1006, "later"],
    [4001, "mine", 4001, "mine"],
    [2500, "", 1001, "the WebSocket was closed with 2500"],
    [1000, "bye\n", 1001, "the WebSocket was closed with 1000 bye "],
    [1006, "", 1001, "the WebSocket ended without a Close"],
  ] as const) {
    const e = meaningOf(code, reason);
    assert.deepEqual([e.code, e.text, e.kind], [want, text, "connection"], `${code} ${reason}`);
  }
});
