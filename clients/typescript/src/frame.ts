import { Code } from "./codes.js";
import { RollcallError, invalidMessage } from "./errors.js";
import { decodeID, encodeID } from "./text.js";

// The frames of docs/protocol.md.

/** Bits of Frame.flags. */
export const REPLY = 1;
export const ERROR = 2;

/** Types of the system's messages. */
export const HEARTBEAT = 0xff00;
export const LOGON = 0xff01;
export const CLOSE = 0xff02;
export const PUSH = 0xff03;
export const PUSH_ACK = 0xff04;
export const WHO_IS_ONLINE = 0xff05;
export const RENEW = 0xff0a;
/** Types from this one on are the system's. */
export const FIRST_SYSTEM_TYPE = 0xff00;

const MAGIC = 0x52;
const VERSION = 1;
const HEADER = 16;
export const EMPTY = new Uint8Array(0);

/** Frame is one message on the wire. */
export interface Frame {
  type: number;
  /** REPLY, or REPLY | ERROR, or 0. */
  flags: number;
  /** 0 is none. */
  id: number;
  device: number;
  user: string;
  to: string;
  /** A decoded frame has memory of its own. */
  body: Uint8Array;
}

/** Limits are in bytes; undefined is none. */
export interface Limits {
  maxBody?: number | undefined;
  maxFrame?: number | undefined;
  /** By how much a Close, the answer to a Logon and an error reply may be larger than maxBody. Without it they may not. */
  extra?: number;
}

/** FrameWriter gathers frames to be sent. */
export class FrameWriter {
  #bytes = EMPTY;
  #view = new DataView(EMPTY.buffer);
  #length = 0;

  /** How many bytes wait. */
  get length(): number {
    return this.#length;
  }

  /** append adds a frame. It throws a TypeError for a frame that a decoder would refuse, and adds nothing then. */
  append({ type, flags, id, device, user, to, body }: Frame): void {
    if (!isUint(type, 0xffff) || type === 0) {
      throw new TypeError(`message type ${String(type)} is not within 1 to 65535`);
    }
    if (flags !== 0 && flags !== REPLY && flags !== (REPLY | ERROR)) {
      throw new TypeError(`flags ${String(flags)} are unknown`);
    }
    if (!isUint(id, 0xffffffff) || !isUint(device, 0xffff)) {
      throw new TypeError("the message ID or the device class is no such number");
    }
    if (!(body instanceof Uint8Array)) {
      throw new TypeError("the body is not a Uint8Array");
    }
    const from = user === "" ? EMPTY : encodeID(user, "the user ID");
    const dest = to === "" ? EMPTY : encodeID(to, "the destination's user ID");
    const length = from.length + dest.length + body.length;
    if (length > 0xffffffff) {
      throw new TypeError("the message is larger than 4 GiB");
    }
    let at = this.#length;
    this.#reserve(at + HEADER + length);
    const view = this.#view;
    view.setUint32(at, ((MAGIC << 24) | (((VERSION << 4) | flags) << 16) | type) >>> 0);
    view.setUint32(at + 4, length);
    view.setUint32(at + 8, id);
    view.setUint32(at + 12, ((from.length << 24) | (dest.length << 16) | device) >>> 0);
    at += HEADER;
    this.#bytes.set(from, at);
    this.#bytes.set(dest, at + from.length);
    this.#bytes.set(body, at + from.length + dest.length);
    this.#length = at + length;
  }

  /** take returns what was added since the last call, in memory that the writer does not use again. */
  take(): Uint8Array {
    const taken = this.#bytes.subarray(0, this.#length);
    this.#bytes = EMPTY;
    this.#length = 0;
    return taken;
  }

  #reserve(size: number): void {
    if (this.#bytes.length < size) {
      const grown = new Uint8Array(Math.max(size, 2 * this.#bytes.length, 1024));
      grown.set(this.#bytes.subarray(0, this.#length));
      this.#bytes = grown;
      this.#view = new DataView(grown.buffer);
    }
  }
}

function isUint(n: unknown, most: number): boolean {
  return Number.isInteger(n) && (n as number) >= 0 && (n as number) <= most;
}

/**
 * decodeFrame reads the frame that b[from:to] begins with. It returns its length and the frame, or, while the frame is not whole, how many
 * bytes there have to be before it is worth another attempt. It throws a RollcallError as soon as the bytes show a mistake.
 */
export function decodeFrame(b: Uint8Array, from: number, to: number, limits: Limits): [length: number, frame: Frame] | number {
  checkStart(b, from, to);
  if (to - from < HEADER) {
    return HEADER;
  }
  const length = uint32(b, from + 4);
  const user = b[from + 12] as number;
  const dest = b[from + 13] as number;
  const size = length - user - dest;
  const { maxBody, maxFrame, extra = 0 } = limits;
  if (maxFrame !== undefined && HEADER + length > maxFrame) {
    throw tooLarge(`a frame of ${HEADER + length} bytes, the limit is ${maxFrame}`);
  }
  if (maxBody !== undefined && size > maxBody + (isNotice(b, from) ? extra : 0)) {
    throw tooLarge(`a body of ${size} bytes, the limit is ${maxBody}`);
  }
  if (size < 0) {
    throw invalidMessage(`the user IDs are longer than the length ${length}`);
  }
  const ids = from + HEADER;
  const body = ids + user + dest;
  if (to < body) {
    return HEADER + length;
  }
  const id = decodeID(b, ids, ids + user);
  const destID = decodeID(b, ids + user, body);
  if (id === undefined || destID === undefined) {
    throw invalidMessage("a user ID that is not UTF-8, or has a control character");
  }
  if (to < body + size) {
    return HEADER + length;
  }
  return [
    HEADER + length,
    {
      type: ((b[from + 2] as number) << 8) | (b[from + 3] as number),
      flags: (b[from + 1] as number) & 15,
      id: uint32(b, from + 8),
      device: ((b[from + 14] as number) << 8) | (b[from + 15] as number),
      user: id,
      to: destID,
      body: size === 0 ? EMPTY : b.slice(body, body + size),
    },
  ];
}

/** isNotice reports whether a header is that of a Close, of the answer to a Logon or of an error reply. */
function isNotice(b: Uint8Array, from: number): boolean {
  const flags = b[from + 1] as number;
  const type = ((b[from + 2] as number) << 8) | (b[from + 3] as number);
  return (flags & ERROR) !== 0 || type === CLOSE || (type === LOGON && (flags & REPLY) !== 0);
}

/** checkStart checks the first four bytes of a frame, of which the rest may be missing. */
function checkStart(b: Uint8Array, from: number, to: number): void {
  const have = to - from;
  if (have > 0 && b[from] !== MAGIC) {
    throw invalidMessage("the frame does not begin with the magic 0x52");
  }
  if (have > 1) {
    const version = (b[from + 1] as number) >> 4;
    const flags = (b[from + 1] as number) & 15;
    if (version !== VERSION) {
      throw invalidMessage(`protocol version ${version}, want ${VERSION}`);
    }
    if (flags > (REPLY | ERROR) || flags === ERROR) {
      throw invalidMessage(`flags ${flags}`);
    }
  }
  if (have > 3 && b[from + 2] === 0 && b[from + 3] === 0) {
    throw invalidMessage("message type 0");
  }
}

function uint32(b: Uint8Array, at: number): number {
  return (((b[at] as number) << 24) | ((b[at + 1] as number) << 16) | ((b[at + 2] as number) << 8) | (b[at + 3] as number)) >>> 0;
}

function tooLarge(text: string): RollcallError {
  return new RollcallError(Code.MessageTooLarge, text, { kind: "connection" });
}

/** MAX_RESERVE is the most memory that is allocated for a header alone. For a larger message it doubles as the bytes come. */
const MAX_RESERVE = 2 << 20;

/** FrameReader finds frames in a stream of bytes. */
export class FrameReader {
  /** The largest body that is accepted, in bytes. */
  maxBody: number;
  readonly extra = 64 << 10; // the protocol's number
  #kept = EMPTY; // #kept[:#length] is the beginning of a frame
  #length = 0;
  #need = 1;

  constructor(maxBody: number) {
    this.maxBody = maxBody;
  }

  /** Whether a frame has begun and is not whole. */
  get midFrame(): boolean {
    return this.#length > 0;
  }

  /**
   * feed takes the next bytes, which may be used again afterwards, and calls take for each frame that is whole, until it returns false.
   * It throws a RollcallError for a mistake in the stream.
   */
  feed(bytes: Uint8Array, take: (frame: Frame) => boolean): void {
    let from = bytes;
    let end = bytes.length;
    if (this.#length > 0) {
      this.#append(bytes);
      from = this.#kept;
      end = this.#length;
      if (end < this.#need) {
        return;
      }
    }
    let at = 0;
    while (at < end) {
      const found = decodeFrame(from, at, end, this);
      if (typeof found === "number") {
        this.#need = found;
        break;
      }
      at += found[0];
      if (!take(found[1])) {
        this.#length = 0;
        return;
      }
    }
    this.#keep(from, at, end);
  }

  /** keep keeps what is not decoded yet for the next call. */
  #keep(from: Uint8Array, at: number, end: number): void {
    const rest = from.subarray(at, end);
    if (rest.length === 0) {
      this.#kept = EMPTY;
    } else if (from === this.#kept) {
      this.#kept.copyWithin(0, at, end);
    } else {
      this.#kept = new Uint8Array(Math.max(rest.length, Math.min(this.#need, MAX_RESERVE)));
      this.#kept.set(rest);
    }
    this.#length = rest.length;
  }

  #append(bytes: Uint8Array): void {
    const size = this.#length + bytes.length;
    if (this.#kept.length < size) {
      const grown = new Uint8Array(Math.max(size, Math.min(this.#need, Math.max(2 * this.#kept.length, MAX_RESERVE))));
      grown.set(this.#kept.subarray(0, this.#length));
      this.#kept = grown;
    }
    this.#kept.set(bytes, this.#length);
    this.#length = size;
  }
}
