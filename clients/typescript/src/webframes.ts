import { invalidMessage } from "./errors.js";

// The frames of WebSocket, RFC 6455, as a client sees them.

const CONTINUATION = 0;
const TEXT = 1;
export const BINARY = 2;
export const CLOSE = 8;
const PING = 9;
export const PONG = 10;
const FIN = 0x80;
const MASKED = 0x80;
const MAX_CONTROL = 125;

/** WebFrameEvents are what a server's frames bring. */
export interface WebFrameEvents {
  /** data brings a piece of the stream that binary messages are; it may change after the call. */
  data(bytes: Uint8Array): void;
  ping(payload: Uint8Array): void;
  /** close is the last event. The code is 1005 for none. */
  close(code: number, reason: string): void;
}

/** WebFrameReader takes the frames off a stream of bytes. */
export class WebFrameReader {
  #kept: Uint8Array = new Uint8Array(0); // of a header, or of a control frame
  #left = 0; // of the payload of a data frame
  #inMessage = false; // a message goes on in the next frame
  #over = false;

  /** Whether a message has begun and is not whole. */
  get midMessage(): boolean {
    return this.#inMessage || this.#left > 0 || this.#kept.length > 0;
  }

  /** feed takes the next bytes. It throws a RollcallError for a mistake in them. */
  feed(bytes: Uint8Array, events: WebFrameEvents): void {
    let b = bytes;
    if (this.#kept.length > 0) {
      b = new Uint8Array(this.#kept.length + bytes.length);
      b.set(this.#kept);
      b.set(bytes, this.#kept.length);
      this.#kept = new Uint8Array(0);
    }
    for (let at = 0; at < b.length && !this.#over; ) {
      if (this.#left > 0) {
        const piece = b.subarray(at, at + this.#left);
        this.#left -= piece.length;
        at += piece.length;
        events.data(piece);
        continue;
      }
      const used = this.#header(b, at, events);
      if (used === 0) {
        this.#kept = b.slice(at);
        return;
      }
      at += used;
    }
  }

  /** header reads the header at b[at], and the whole frame if it is a control frame. It returns how many bytes it took; 0 if there are too few. */
  #header(b: Uint8Array, at: number, events: WebFrameEvents): number {
    if (b.length - at < 2) {
      return 0;
    }
    const first = b[at] as number;
    const opcode = first & 0x0f;
    const short = (b[at + 1] as number) & 0x7f;
    if ((first & 0x70) !== 0 || ((b[at + 1] as number) & MASKED) !== 0) {
      throw invalidMessage("a frame of WebSocket that is masked, or has flags of an extension");
    }
    if (opcode >= CLOSE) {
      return this.#control(b, at, opcode, short, events);
    }
    if (opcode === TEXT || opcode > BINARY || (opcode === CONTINUATION) !== this.#inMessage) {
      throw invalidMessage("a message of WebSocket that is not binary, or begins within another");
    }
    const header = short === 126 ? 4 : short === 127 ? 10 : 2;
    if (b.length - at < header) {
      return 0;
    }
    const view = new DataView(b.buffer, b.byteOffset + at, header);
    const length = short === 126 ? view.getUint16(2) : short === 127 ? Number(view.getBigUint64(2)) : short;
    if (length > Number.MAX_SAFE_INTEGER) {
      throw invalidMessage("a frame of WebSocket that is too long");
    }
    this.#inMessage = (first & FIN) === 0;
    this.#left = length;
    return header;
  }

  #control(b: Uint8Array, at: number, opcode: number, length: number, events: WebFrameEvents): number {
    if (((b[at] as number) & FIN) === 0 || length > MAX_CONTROL || opcode > PONG) {
      throw invalidMessage("a control frame of WebSocket that is unknown, too long or in pieces");
    }
    if (b.length - at < 2 + length) {
      return 0;
    }
    const payload = b.slice(at + 2, at + 2 + length);
    if (opcode === PING) {
      events.ping(payload);
    } else if (opcode === CLOSE) {
      this.#over = true;
      const code = length < 2 ? 1005 : ((payload[0] as number) << 8) | (payload[1] as number);
      events.close(code, new TextDecoder().decode(payload.subarray(2)));
    }
    return 2 + length;
  }
}

/** encodeWebFrame returns a frame of a client, whose payload is masked. */
export function encodeWebFrame(opcode: number, payload: Uint8Array, mask: Uint8Array): Uint8Array {
  const n = payload.length;
  const at = n <= MAX_CONTROL ? 2 : n <= 0xffff ? 4 : 10;
  const b = new Uint8Array(at + 4 + n);
  const view = new DataView(b.buffer);
  b[0] = FIN | opcode;
  if (at === 2) {
    b[1] = MASKED | n;
  } else if (at === 4) {
    b[1] = MASKED | 126;
    view.setUint16(2, n);
  } else {
    b[1] = MASKED | 127;
    view.setBigUint64(2, BigInt(n));
  }
  b.set(mask, at);
  for (let i = 0; i < n; i++) {
    b[at + 4 + i] = (payload[i] as number) ^ (mask[i & 3] as number);
  }
  return b;
}
