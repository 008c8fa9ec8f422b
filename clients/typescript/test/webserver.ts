// The server's side of a WebSocket, as a stream of what its messages hold.

import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { Duplex } from "node:stream";

/** header returns the header of a frame of the server's. */
export function webHeader(first: number, length: number): Buffer {
  if (length < 126) {
    return Buffer.of(first, length);
  }
  if (length <= 0xffff) {
    return Buffer.of(first, 126, length >> 8, length & 255);
  }
  const b = Buffer.alloc(10);
  b.set([first, 127]);
  b.writeUInt32BE(length, 6);
  return b;
}

/** answer is the head of the HTTP answer that begins a WebSocket. */
export function webAnswer(request: IncomingMessage): string {
  const key = `${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`;
  return [
    "HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: keep-alive, Upgrade",
    `Sec-WebSocket-Accept: ${createHash("sha1").update(key).digest("base64")}`, "Sec-WebSocket-Protocol: rollcall.v1", "\r\n",
  ].join("\r\n");
}

export class WebStream extends Duplex {
  readonly #socket: Duplex;
  #raw: Buffer = Buffer.alloc(0);
  /** Opcodes and payloads of the client's control frames. */
  readonly controls: [opcode: number, payload: Buffer][] = [];

  constructor(request: IncomingMessage, socket: Duplex, head: Buffer) {
    super();
    this.#socket = socket;
    socket.write(webAnswer(request));
    socket.on("error", () => {});
    socket.on("close", () => this.destroy());
    socket.on("data", (b: Buffer) => this.#take(b));
    this.#take(head);
  }

  override _read(): void {}

  override _write(b: Buffer, _encoding: string, done: () => void): void {
    this.#socket.write(Buffer.concat([webHeader(0x82, b.length), b]), done);
  }

  override _final(done: () => void): void {
    this.#socket.end(Buffer.of(0x88, 2, 1000 >> 8, 1000 & 255), done);
  }

  override _destroy(_error: Error | null, done: () => void): void {
    this.#socket.destroy();
    done();
  }

  /** raw sends bytes as they are. */
  raw(b: Uint8Array): void {
    this.#socket.write(b);
  }

  #take(b: Buffer): void {
    this.#raw = Buffer.concat([this.#raw, b]);
    for (;;) {
      const raw = this.#raw;
      const short = (raw[1] ?? 0) & 127;
      const at = short === 126 ? 4 : short === 127 ? 10 : 2;
      if (raw.length < at + 4) {
        return;
      }
      const length = short === 126 ? raw.readUInt16BE(2) : short === 127 ? raw.readUInt32BE(6) : short;
      if (raw.length < at + 4 + length) {
        return;
      }
      const payload = raw.subarray(at + 4, at + 4 + length).map((v, i) => v ^ (raw[at + (i & 3)] as number));
      this.#raw = raw.subarray(at + 4 + length);
      const opcode = (raw[0] as number) & 15;
      if (opcode >= 8) {
        this.controls.push([opcode, Buffer.from(payload)]);
        this.emit("control");
      }
      if (opcode === 8) {
        this.#socket.end(Buffer.of(0x88, 0));
        this.push(null);
        return;
      }
      if (opcode < 8) {
        this.push(payload);
      }
    }
  }
}
