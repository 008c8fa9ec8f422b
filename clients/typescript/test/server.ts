// A small server for tests of the client on real sockets. Users talk through it; a request without a destination is answered with its own body.

import { once } from "node:events";
import { createServer as createWebServer } from "node:http";
import { createServer, type AddressInfo, type Server as NetServer } from "node:net";
import type { Duplex } from "node:stream";
import { Server as TLSServer } from "node:tls";
import { encodeClose, encodeIDs, encodeMap, parseIDs } from "../dist/bodies.js";
import { CLOSE, ERROR, FrameReader, HEARTBEAT, LOGON, REPLY, WHO_IS_ONLINE, type Frame } from "../dist/frame.js";
import { frameBytes } from "./support.js";
import { WebStream } from "./webserver.js";

export class TestServer {
  readonly #server: NetServer;
  readonly #users = new Map<string, Duplex>();
  /** The WebSockets, in the order in which they came. */
  readonly streams: WebStream[] = [];
  /** The system's messages that clients have sent behind the Logon. */
  readonly frames: Frame[] = [];
  /** The heartbeat-ms of the next logons. */
  heartbeat = 10_000;
  /** How many have logged on. */
  logons = 0;
  /** Called for each logon, when it has been answered. */
  loggedOn: (user: string) => void = () => {};

  /** server is one of TCP or TLS. */
  constructor(server: NetServer = createServer({ noDelay: true }), connected = server instanceof TLSServer ? "secureConnection" : "connection") {
    this.#server = server;
    server.on(connected, (s: Duplex) => this.#serve(s));
  }

  /** web makes a server that speaks WebSocket. */
  static web(): TestServer {
    const web = createWebServer();
    const server = new TestServer(web, "no event");
    web.on("upgrade", (request, socket, head) => {
      server.streams.push(new WebStream(request, socket, head));
      server.#serve(server.streams.at(-1) as WebStream);
    });
    return server;
  }

  /** start listens, and returns "host:port". */
  async start(): Promise<string> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** stop ends all connections. */
  stop(): void {
    for (const s of this.#users.values()) {
      s.destroy();
    }
    this.#server.close();
  }

  /** send sends a user a frame. */
  send(user: string, frame: Partial<Frame> & { type: number }): void {
    this.#users.get(user)?.write(frameBytes(frame));
  }

  /** close ends a user's connection with a Close. */
  close(user: string, code: number): void {
    this.#users.get(user)?.end(frameBytes({ type: CLOSE, body: encodeClose(code, "") }));
  }

  #serve(socket: Duplex): void {
    const reader = new FrameReader(1 << 20);
    let user = "";
    socket.on("error", () => {});
    socket.on("close", () => this.#users.get(user) === socket && this.#users.delete(user));
    socket.on("data", (b) => {
      const out: Uint8Array[] = [];
      reader.feed(new Uint8Array(b.buffer, b.byteOffset, b.length), (f) => {
        if (f.type === LOGON) {
          user = f.user;
          this.#users.set(user, socket);
          this.logons++;
          const fields = encodeMap(new Map([["session", `of ${user}`], ["heartbeat-ms", String(this.heartbeat)]]));
          out.push(frameBytes({ type: LOGON, flags: REPLY, id: f.id, body: Uint8Array.of(0, 0, ...fields) }));
          setImmediate(() => this.loggedOn(user));
        } else {
          this.#handle(user, f, out);
        }
        return true;
      });
      if (out.length > 0) {
        socket.write(Buffer.concat(out));
      }
    });
  }

  #handle(user: string, f: Frame, out: Uint8Array[]): void {
    const answer = (flags: number, body: Uint8Array) => out.push(frameBytes({ type: f.type, flags: REPLY | flags, id: f.id, body }));
    if (f.type >= 0xff00) {
      this.frames.push(f);
    }
    if (f.type === WHO_IS_ONLINE) {
      answer(0, encodeIDs(parseIDs(f.body).filter((id) => this.#users.has(id))));
    } else if (f.type === HEARTBEAT && f.id !== 0) {
      answer(0, f.body);
    } else if (f.type < 0xff00 && f.to !== "") {
      const to = this.#users.get(f.to);
      if (to !== undefined) {
        to.write(frameBytes({ ...f, user }));
      } else if (f.id !== 0 && f.flags === 0) {
        answer(ERROR, encodeClose(5000, `${f.to} is offline`));
      }
    } else if (f.type < 0xff00 && f.id !== 0 && f.flags === 0) {
      answer(0, f.body);
    } else if (f.type < 0xff00 && f.flags === 0) {
      out.push(frameBytes({ type: f.type, body: f.body }));
    }
  }
}
