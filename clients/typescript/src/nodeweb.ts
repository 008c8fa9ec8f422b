import { createHash, randomBytes } from "node:crypto";
import type { Socket } from "node:net";
import type { Address } from "./address.js";
import { Code } from "./codes.js";
import { RollcallError, invalidMessage, networkError } from "./errors.js";
import type { Transport, TransportEvents } from "./platform.js";
import { meaningOf } from "./webclose.js";
import { BINARY, CLOSE, PONG, WebFrameReader, encodeWebFrame } from "./webframes.js";

// WebSocket for Node, which has none of its own in version 20.

const MAX_HEAD = 16 << 10;
/** How long the network may take to accept the last bytes, in milliseconds. */
const LINGER = 1_000;
const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; // of RFC 6455

/** openWebSocket begins a WebSocket on a connection, and gives up when signal is aborted. */
export function openWebSocket(address: Address, socket: Socket, events: TransportEvents, signal: AbortSignal): Promise<Transport> {
  return new Promise((resolve, reject) => {
    const key = randomBytes(16).toString("base64");
    let head = Buffer.alloc(0);
    const settle = (how: () => void) => {
      socket.off("data", read).off("error", broken).off("close", ended);
      signal.removeEventListener("abort", aborted);
      how();
    };
    const fail = (error: unknown) => settle(() => {
      socket.on("error", () => {});
      socket.destroy();
      reject(error);
    });
    const broken = (e: Error) => fail(networkError(e.message, e));
    const ended = () => fail(networkError("the server ended the connection before the WebSocket began"));
    const aborted = () => fail(signal.reason);
    const read = (b: Buffer) => {
      head = Buffer.concat([head, b]);
      const end = head.indexOf("\r\n\r\n");
      if (end < 0 && head.length <= MAX_HEAD) {
        return;
      }
      const refused = end < 0 ? invalidMessage("what answers is no HTTP server") : refusal(head.toString("latin1", 0, end), key);
      if (refused !== undefined) {
        fail(refused);
        return;
      }
      settle(() => {
        const transport = new WebTransport(socket, events);
        resolve(transport);
        const early = head.subarray(end + 4);
        if (early.length > 0) {
          socket.pause(); // what comes next is read behind it
          setImmediate(() => { // by then the user of the transport has it
            transport.read(early);
            socket.resume();
          });
        }
      });
    };
    if (signal.aborted) {
      fail(signal.reason);
      return;
    }
    signal.addEventListener("abort", aborted);
    socket.on("data", read).on("error", broken).on("close", ended);
    socket.write(request(address, key));
  });
}

function request({ host, port, path, scheme }: Address, key: string): string {
  const name = (host.includes(":") ? `[${host}]` : host) + (port === (scheme === "wss" ? 443 : 80) ? "" : `:${port}`);
  return [
    `GET ${path} HTTP/1.1`,
    `Host: ${name}`,
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    `Sec-WebSocket-Key: ${key}`,
    "Sec-WebSocket-Protocol: rollcall.v1",
    "\r\n",
  ].join("\r\n");
}

/** refusal returns why the answer to the request begins no WebSocket, or undefined if it does. */
function refusal(head: string, key: string): RollcallError | undefined {
  const [first = "", ...lines] = head.split("\r\n");
  const status = Number(/^HTTP\/1\.1 ([0-9]{3})(?: |$)/.exec(first)?.[1]);
  if (Number.isNaN(status)) {
    return invalidMessage("what answers is no HTTP server");
  }
  const headers = new Map<string, string>();
  for (const line of lines) {
    const [, name = "", value = ""] = /^([^:]+):[ \t]*(.*?)[ \t]*$/.exec(line) ?? [];
    headers.set(name.toLowerCase(), value);
  }
  if (status !== 101) {
    return refused(status, headers.get("retry-after"));
  }
  const accept = createHash("sha1").update(key + GUID).digest("base64");
  const connection = (headers.get("connection") ?? "").toLowerCase().split(/[ ,]+/);
  const protocol = headers.get("sec-websocket-protocol");
  const begun =
    headers.get("upgrade")?.toLowerCase() === "websocket" &&
    connection.includes("upgrade") &&
    headers.get("sec-websocket-accept") === accept &&
    (protocol === undefined || protocol === "rollcall.v1") &&
    !headers.has("sec-websocket-extensions");
  return begun ? undefined : invalidMessage("the answer begins no WebSocket with this client");
}

/** refused returns the error for an HTTP status. */
function refused(status: number, retryAfter: string | undefined): RollcallError {
  const text = `the HTTP server answered ${status}`;
  if (status === 503 || status === 429) {
    const seconds = /^[0-9]{1,9}$/.test(retryAfter ?? "") ? Number(retryAfter) : 0;
    const info = new Map(seconds > 0 ? [["retry-ms", String(1000 * seconds)]] : []);
    return new RollcallError(Code.TooManyConnections, text, { kind: "connection", info });
  }
  if (status === 401 || status === 403) {
    return new RollcallError(Code.Unauthorized, text, { kind: "connection" });
  }
  return status >= 400 && status < 500 && status !== 408 ? invalidMessage(text) : networkError(text);
}

/** WebTransport is a connection of WebSocket. */
class WebTransport implements Transport {
  readonly #socket: Socket;
  readonly #events: TransportEvents;
  readonly #reader = new WebFrameReader();
  #closing = false;
  #over = false;

  constructor(socket: Socket, events: TransportEvents) {
    this.#socket = socket;
    this.#events = events;
    socket.on("data", (b: Buffer) => this.read(b));
    socket.on("drain", () => events.drained());
    socket.on("error", (e) => this.#ended(networkError(e.message, e)));
    socket.on("end", () => this.#ended());
    socket.on("close", () => this.#ended());
  }

  /** read takes what the network brings. */
  read(b: Uint8Array): void {
    if (this.#over) {
      return;
    }
    try {
      this.#reader.feed(new Uint8Array(b.buffer, b.byteOffset, b.length), {
        data: (bytes) => {
          if (!this.#over) {
            this.#events.data(bytes);
          }
        },
        ping: (payload) => this.#send(PONG, payload),
        close: (code, reason) => this.#ended(meaningOf(code, reason)),
      });
    } catch (e) {
      this.#ended(e as RollcallError);
    }
  }

  get buffered(): number {
    return this.#socket.writableLength;
  }

  write(bytes: Uint8Array): void {
    this.#send(BINARY, bytes);
  }

  end(): void {
    this.#close();
  }

  close(): void {
    this.#over = true;
    this.#close();
    this.#socket.destroySoon();
    const late = setTimeout(() => this.#socket.destroy(), LINGER);
    this.#socket.once("close", () => clearTimeout(late));
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  #send(opcode: number, payload: Uint8Array): void {
    if (!this.#closing) {
      this.#socket.write(encodeWebFrame(opcode, payload, randomBytes(4)));
    }
  }

  /** close sends a Close of WebSocket, behind which nothing follows. The server ends TCP then. */
  #close(): void {
    this.#send(CLOSE, Uint8Array.of(1000 >> 8, 1000 & 0xff));
    this.#closing = true;
  }

  #ended(error?: RollcallError): void {
    if (!this.#over) {
      this.#over = true;
      this.#events.ended(error ?? (this.#reader.midMessage ? networkError("the server ended the connection within a message") : undefined));
    }
  }
}
