import { randomInt } from "node:crypto";
import { connect as connectTCP, isIP, type Socket } from "node:net";
import { connect as connectTLS } from "node:tls";
import type { Address } from "./address.js";
import { Client } from "./client.js";
import { networkError, type RollcallError } from "./errors.js";
import { openWebSocket } from "./nodeweb.js";
import type { Options } from "./options.js";
import { systemClock, type Platform, type Transport, type TransportEvents } from "./platform.js";

export * from "./public.js";

/** NodeOptions are the settings of a client in Node. */
export interface NodeOptions extends Options {
  /**
   * The root certificates, in PEM, that tls:// and wss:// trust, and no others. Without them those of Node count. The chain and the name are
   * verified in any case; NODE_TLS_REJECT_UNAUTHORIZED does not change that.
   */
  ca?: string | Uint8Array | readonly (string | Uint8Array)[];
}

/**
 * connect connects to a server, logs on, and waits for the answer: once, so that it rejects when that fails. The error is a RollcallError, the
 * reason of the option signal, or a TypeError for an option or an address that makes no sense. url is `tcp://host:port`, `tls://host:port` or,
 * by WebSocket, `ws://host:port/path` or `wss://…`; the ports of the last two may be left out. Put no token into it: servers and proxies log it.
 */
export function connect(url: string, options: NodeOptions = {}): Promise<Client> {
  return Client.connect(platformFor(options.ca), url, options);
}

type Roots = NodeOptions["ca"];

function platformFor(ca: Roots): Platform {
  return {
    clock: systemClock,
    defer: setImmediate,
    random: () => randomInt(2 ** 47) / 2 ** 47,
    visible: () => true,
    watch: () => () => {},
    check: () => {},
    async open(address, events, signal) {
      const socket = await openSocket(address, ca, signal);
      if (address.scheme === "tcp" || address.scheme === "tls") {
        return new SocketTransport(socket, events);
      }
      return openWebSocket(address, socket, events, signal);
    },
  };
}

/** openSocket makes a connection of TCP or TLS. */
function openSocket({ scheme, host, port }: Address, ca: Roots, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const secure = scheme === "tls" || scheme === "wss";
    const socket = secure
      ? connectTLS({
          host,
          port,
          servername: isIP(host) === 0 ? host : "",
          rejectUnauthorized: true,
          minVersion: "TLSv1.2",
          ...(ca === undefined ? {} : { ca: rootsOf(ca) }),
          ...(scheme === "wss" ? { ALPNProtocols: ["http/1.1"] } : {}),
        })
      : connectTCP({ host, port });
    socket.setNoDelay(true);
    const ready = secure ? "secureConnect" : "connect";
    const settle = (how: () => void) => {
      socket.off(ready, connected).off("error", broken).off("close", closed);
      signal.removeEventListener("abort", aborted);
      how();
    };
    const connected = () => settle(() => resolve(socket));
    const fail = (error: unknown) => settle(() => {
      discard(socket);
      reject(error);
    });
    const broken = (e: Error) => fail(failed(e));
    const closed = () => fail(networkError("the connection was closed before it was ready"));
    const aborted = () => fail(signal.reason);
    signal.addEventListener("abort", aborted);
    socket.once(ready, connected).once("error", broken).once("close", closed);
  });
}

function rootsOf(ca: NonNullable<Roots>): (string | Buffer)[] {
  const all = typeof ca === "string" || ca instanceof Uint8Array ? [ca] : ca;
  return all.map((c) => (typeof c === "string" ? c : Buffer.from(c)));
}

/** discard ends a socket; errors of it concern nothing any more. */
function discard(socket: Socket): void {
  socket.on("error", () => {});
  socket.destroy();
}

function failed(e: Error): RollcallError {
  return networkError(e.message || ((e as NodeJS.ErrnoException).code ?? "the connection failed"), e);
}

/** SocketTransport is a connection of TCP or TLS. */
class SocketTransport implements Transport {
  readonly #socket: Socket;
  #over = false;

  constructor(socket: Socket, events: TransportEvents) {
    this.#socket = socket;
    const ended = (error?: RollcallError) => {
      if (!this.#over) {
        this.#over = true;
        events.ended(error);
      }
    };
    socket.on("data", (b: Buffer) => {
      if (!this.#over) {
        events.data(new Uint8Array(b.buffer, b.byteOffset, b.length));
      }
    });
    socket.on("drain", () => events.drained());
    socket.on("end", () => ended());
    socket.on("error", (e) => ended(failed(e)));
    socket.on("close", () => ended());
  }

  get buffered(): number {
    return this.#socket.writableLength;
  }

  write(bytes: Uint8Array): void {
    this.#socket.write(bytes);
  }

  end(): void {
    this.#socket.end();
  }

  close(): void {
    this.#over = true;
    this.#socket.destroy();
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }
}
