import { Code } from "./codes.js";
import { RollcallError, invalidMessage, type ErrorKind } from "./errors.js";
import { EMPTY } from "./frame.js";
import { decodeID, decodeText, encodeID, encodeText } from "./text.js";

// The bodies of the system's messages. Parsing throws a RollcallError with InvalidMessage, encoding a TypeError.

/** StringMap is named values. It is a Map, so that `__proto__` is a key like any other. */
export type StringMap = ReadonlyMap<string, string>;

/** Cursor reads a body from its beginning to its end. */
class Cursor {
  #at = 0;
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  take(size: number, what: string): Uint8Array {
    if (this.left < size) {
      throw invalidMessage(`${what} is cut off`);
    }
    return this.#bytes.subarray(this.#at, (this.#at += size));
  }

  uint8(what: string): number {
    return this.take(1, what)[0] as number;
  }

  uint16(what: string): number {
    const b = this.take(2, what);
    return ((b[0] as number) << 8) | (b[1] as number);
  }

  text(size: number, what: string): string {
    const s = decodeText(this.take(size, what));
    if (s === undefined) {
      throw invalidMessage(`${what} is not UTF-8`);
    }
    return s;
  }

  end(what: string): void {
    if (this.left > 0) {
      throw invalidMessage(`${this.left} bytes after ${what}`);
    }
  }
}

/** join returns the parts as one. */
function join(parts: readonly Uint8Array[]): Uint8Array {
  const b = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    b.set(p, at);
    at += p.length;
  }
  return b;
}

const uint16 = (n: number): Uint8Array => Uint8Array.of(n >> 8, n & 0xff);

/** encodeMap returns the bytes of named values, in the order of their keys' bytes. No error shows a value: it may be a secret. */
export function encodeMap(values: StringMap): Uint8Array {
  if (values.size > 255) {
    throw new TypeError(`${values.size} named values, the limit is 255`);
  }
  const pairs: [key: Uint8Array, value: Uint8Array][] = [];
  for (const [key, value] of values) {
    if (typeof key !== "string" || typeof value !== "string") {
      throw new TypeError("a named value, or its name, is not a string");
    }
    const k = encodeText(key, "the name of a value");
    const v = encodeText(value, "a named value");
    if (k.length === 0 || k.length > 255 || v.length > 0xffff) {
      throw new TypeError(`a name of ${k.length} bytes with a value of ${v.length}: 1 to 255 and 0 to 65535 may be sent`);
    }
    pairs.push([k, v]);
  }
  pairs.sort(([a], [b]) => compare(a, b));
  return join([Uint8Array.of(pairs.length), ...pairs.flatMap(([k, v]) => [Uint8Array.of(k.length), k, uint16(v.length), v])]);
}

function compare(a: Uint8Array, b: Uint8Array): number {
  for (let i = 0; i < a.length && i < b.length; i++) {
    if (a[i] !== b[i]) {
      return (a[i] as number) - (b[i] as number);
    }
  }
  return a.length - b.length;
}

function readMap(c: Cursor): Map<string, string> {
  const values = new Map<string, string>();
  const what = "a string map";
  for (let n = c.uint8(what); n > 0; n--) {
    const key = c.text(c.uint8(what), what);
    const value = c.text(c.uint16(what), what);
    if (key === "" || values.has(key)) {
      throw invalidMessage("a string map with an empty key, or with a key twice");
    }
    values.set(key, value);
  }
  return values;
}

/** readRestMap reads a string map up to the end; without any byte it is empty. */
function readRestMap(c: Cursor): Map<string, string> {
  const values = c.left === 0 ? new Map<string, string>() : readMap(c);
  c.end("a string map");
  return values;
}

/** parseMap reads the body of a Logon or a Renew. */
export function parseMap(body: Uint8Array): Map<string, string> {
  return readRestMap(new Cursor(body));
}

/** parseClose reads a code and a text: the body of a Close, or of an error reply. */
export function parseClose(body: Uint8Array, kind: ErrorKind): RollcallError {
  const c = new Cursor(body);
  const code = c.uint16("a code");
  const text = c.text(c.uint16("a text"), "a text");
  return new RollcallError(code, text, { kind, info: readRestMap(c) });
}

/** encodeClose returns a code and a text, as much of it as fits, and the values of info, unless there are none. */
export function encodeClose(code: number, text: string, info?: StringMap): Uint8Array {
  let t = encodeText(text.replace(/\p{Surrogate}/gu, "\ufffd"), "the text");
  if (t.length > 0xffff) {
    let n = 0xffff;
    while (((t[n] as number) & 0xc0) === 0x80) {
      n--; // not within a character
    }
    t = t.subarray(0, n);
  }
  return join([uint16(code), uint16(t.length), t, info !== undefined && info.size > 0 ? encodeMap(info) : EMPTY]);
}

/** parseLogonReply reads the answer to a Logon or a Renew. It throws the server's code and text if it was refused. */
export function parseLogonReply(body: Uint8Array, kind: ErrorKind): Map<string, string> {
  const c = new Cursor(body);
  if (c.uint16("a Logon's reply") !== 0) {
    throw parseClose(body, kind);
  }
  return readRestMap(c);
}

/** encodeIDs returns an ID list. */
export function encodeIDs(ids: readonly string[]): Uint8Array {
  if (ids.length > 1000) {
    throw new TypeError(`${ids.length} user IDs, the limit is 1000`);
  }
  const parts = [uint16(ids.length)];
  for (const id of ids) {
    const b = encodeID(id, "a user ID");
    if (b.length === 0) {
      throw new TypeError("a user ID is empty");
    }
    parts.push(Uint8Array.of(b.length), b);
  }
  return join(parts);
}

/** parseIDs reads an ID list. */
export function parseIDs(body: Uint8Array): string[] {
  const c = new Cursor(body);
  const what = "an ID list";
  const count = c.uint16(what);
  if (count > 1000) {
    throw invalidMessage(`${what} of ${count}, the limit is 1000`);
  }
  const ids: string[] = [];
  while (ids.length < count) {
    const b = c.take(c.uint8(what), what);
    const id = decodeID(b, 0, b.length);
    if (!id) {
      throw invalidMessage(`${what} with what is no user ID`);
    }
    ids.push(id);
  }
  c.end(what);
  return ids;
}

/** PushKind has the numbers of the known kinds of pushes. Later versions may have more. */
export const PushKind = { Text: 1, Binary: 2, KickOut: 3, Notification: 4, Custom: 5 } as const;

/** Push is a message of the server's application that says what it is and when it was made. */
export interface Push {
  /** The push's UUID, as text. */
  readonly id: string;
  /** What it is: a number of PushKind, or of a later version. Ignore those that you do not know. */
  readonly kind: number;
  /** The name of a custom push; empty for the other kinds. */
  readonly name: string;
  /** When it was made, in milliseconds since 1970-01-01 UTC, as of Date.now(); 0 if that is not known. */
  readonly time: number;
  /** Whether the client acknowledges the push when its handler has finished. */
  readonly confirm: boolean;
  /** Named values. */
  readonly metadata: StringMap;
  /** The content; of a push of kind Text it is UTF-8. The handler may keep it. */
  readonly body: Uint8Array;
}

/** parsePush reads the body of a Push. */
export function parsePush(body: Uint8Array): Push {
  const c = new Cursor(body);
  const what = "a push";
  const id = parsePushAck(c.take(16, what));
  const kind = c.uint8(what);
  const flags = c.uint8(what);
  const at = c.take(8, what);
  const ms = new DataView(at.buffer, at.byteOffset).getBigInt64(0);
  const name = c.text(c.uint8(what), "a push's name");
  const metadata = readMap(c);
  const content = c.take(c.left, what);
  if (kind === 0 || flags > 1) {
    throw invalidMessage(`a push of kind ${kind} with the flags ${flags}`);
  }
  if (kind === PushKind.Custom ? name === "" : kind < PushKind.Custom && name !== "") {
    throw invalidMessage("a custom push without a name, or another one with a name");
  }
  if (kind === PushKind.Text && decodeText(content) === undefined) {
    throw invalidMessage("a text push that is not UTF-8");
  }
  return { id, kind, name, time: Number(ms), confirm: flags === 1, metadata, body: content };
}

/** parsePushAck reads the ID of a push, 16 bytes that are not all 0. */
export function parsePushAck(body: Uint8Array): string {
  if (body.length !== 16 || body.every((b) => b === 0)) {
    throw invalidMessage("what is no ID of a push");
  }
  const hex = Array.from(body, (b) => b.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/** encodePushAck returns the body of a PushAck. */
export function encodePushAck(id: string): Uint8Array {
  return Uint8Array.from(id.replaceAll("-", "").match(/../g) ?? [], (byte) => Number.parseInt(byte, 16));
}

/**
 * parseNumber reads a decimal number that the server sent, at most limit. Without one, or for what is no such number, it returns
 * undefined.
 */
export function parseNumber(text: string | undefined, limit: number): number | undefined {
  return text !== undefined && /^[0-9]+$/.test(text) ? Math.min(Number(text), limit) : undefined;
}

/** answerFor returns what answers a request whose handler has thrown an error: codes below 3000 are about connections. */
export function answerFor(error: unknown): Uint8Array {
  const told = error instanceof RollcallError && Number.isInteger(error.code) && error.code >= 3000 && error.code <= 0xffff;
  try {
    return told ? encodeClose(error.code, error.text, error.info) : encodeClose(Code.HandlerFailed, "");
  } catch {
    return encodeClose(Code.HandlerFailed, ""); // what the error holds cannot be sent
  }
}
