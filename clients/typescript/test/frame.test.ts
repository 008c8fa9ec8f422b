import assert from "node:assert/strict";
import { test } from "node:test";
import { FrameReader, FrameWriter, decodeFrame, type Frame } from "../dist/frame.js";
import { frameBytes, hex, utf8 } from "./support.js";

test("a body has memory of its own", () => {
  const bytes = frameBytes({ type: 1, body: utf8("hello") });
  const [, frame] = decodeFrame(bytes, 0, bytes.length, {}) as [number, Frame];
  bytes.fill(0);
  assert.deepEqual(frame.body, utf8("hello"));
});

test("a byte order mark is a character of a user ID", () => {
  const bytes = frameBytes({ type: 1, user: "\ufeffa", to: "\ufeff" });
  const [, frame] = decodeFrame(bytes, 0, bytes.length, {}) as [number, Frame];
  assert.deepEqual([frame.user, frame.to], ["\ufeffa", "\ufeff"]);
});

test("a stream of frames is read in pieces of any size", () => {
  const sizes = [0, 1, 100, 3000, 70_000, 0, 17];
  const stream = Uint8Array.from(sizes.flatMap((n, i) => [...frameBytes({ type: i + 1, user: "u".repeat(i), body: new Uint8Array(n).fill(i) })]));
  for (const size of [1, 15, 16, 17, 1000, 65_536, stream.length]) {
    const reader = new FrameReader(1 << 20);
    const got: [number, number][] = [];
    for (let at = 0; at < stream.length; at += size) {
      const piece = stream.slice(at, at + size);
      reader.feed(piece, (f) => got.push([f.type, f.body.length]) > 0);
      piece.fill(0xff); // the reader keeps none of it
    }
    assert.deepEqual(got, sizes.map((n, i) => [i + 1, n]), `pieces of ${size}`);
    assert.equal(reader.midFrame, false);
  }
});

test("a large frame that comes slowly is not copied for each piece", () => {
  const size = 8 << 20;
  const bytes = frameBytes({ type: 1, body: new Uint8Array(size) });
  const reader = new FrameReader(size);
  let got = 0;
  let most = 0;
  const before = process.memoryUsage().arrayBuffers;
  for (let at = 0; at < bytes.length; at += 1024) {
    reader.feed(bytes.subarray(at, at + 1024), (f) => (got = f.body.length) > 0);
    most = Math.max(most, process.memoryUsage().arrayBuffers - before);
  }
  assert.equal(got, size);
  assert.ok(most < 5 * size, `${most} bytes`);
});

test("a writer that refuses a frame keeps the others", () => {
  const w = new FrameWriter();
  const frame = { type: 1, flags: 0, id: 0, device: 0, user: "", to: "", body: utf8("a") };
  w.append(frame);
  for (const bad of [{ type: 0 }, { type: 65_536 }, { flags: 2 }, { flags: 4 }, { id: -1 }, { id: 2 ** 32 }, { device: 65_536 }, { user: "\n" }, { body: "a" as never }]) {
    assert.throws(() => w.append({ ...frame, ...bad }), TypeError);
  }
  w.append({ ...frame, body: utf8("b") });
  assert.equal(hex(w.take()), hex(frameBytes({ type: 1, body: utf8("a") })) + hex(frameBytes({ type: 1, body: utf8("b") })));
  assert.equal(w.length, 0);
});
