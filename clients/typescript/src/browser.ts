import { urlOf } from "./address.js";
import { Client } from "./client.js";
import { invalidMessage, networkError } from "./errors.js";
import type { Options } from "./options.js";
import { systemClock, type PageEvents, type Platform, type Transport, type TransportEvents } from "./platform.js";
import { meaningOf } from "./webclose.js";

export * from "./public.js";

/**
 * connect connects to a server by WebSocket, logs on, and waits for the answer: once, so that it rejects when that fails. The error is a
 * RollcallError, the reason of the option signal, or a TypeError for an option or an address that makes no sense. url is
 * `wss://host:port/path`, or `ws://…` without TLS. Put no token into it: servers and proxies log it.
 *
 * Heartbeats are sent as often as the server asks while the page is visible, and one a minute while it is hidden. When it becomes visible
 * again, when it is shown or thawed again, and when the network is back, the client looks at once whether its server is there, and connects
 * if it is not, but not before the time that a server asked for. A page that is left has no connection, until it is shown again.
 */
export function connect(url: string, options: Options = {}): Promise<Client> {
  return Client.connect(platform, url, options);
}

/** How often a transport looks whether the browser has sent what it queued, in milliseconds; there is no event for that. */
const DRAIN_POLL = 20;

class WebSocketTransport implements Transport {
  readonly #socket: WebSocket;
  readonly #events: TransportEvents;
  #polling = false;
  #over = false;

  constructor(socket: WebSocket, events: TransportEvents) {
    this.#socket = socket;
    this.#events = events;
    socket.onmessage = ({ data }: MessageEvent<ArrayBuffer | string>) => {
      if (typeof data === "string") {
        this.close();
        events.ended(invalidMessage("a message of WebSocket that is not binary"));
      } else {
        events.data(new Uint8Array(data));
      }
    };
    socket.onclose = ({ code, reason }) => {
      this.close();
      events.ended(meaningOf(code, reason));
    };
  }

  get buffered(): number {
    return this.#socket.bufferedAmount;
  }

  write(bytes: Uint8Array): void {
    this.#socket.send(bytes as Uint8Array<ArrayBuffer>);
    this.#poll();
  }

  end(): void {
    this.#socket.close(1000);
  }

  close(): void {
    this.#over = true;
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close(1000);
  }

  #poll(): void {
    if (this.#polling || this.#over) {
      return;
    }
    this.#polling = true;
    setTimeout(() => {
      this.#polling = false;
      this.#events.drained();
      if (this.#socket.bufferedAmount > 0) {
        this.#poll();
      }
    }, DRAIN_POLL);
  }
}

const channel = typeof MessageChannel === "undefined" ? undefined : new MessageChannel();
const deferred: (() => void)[] = [];
if (channel !== undefined) {
  channel.port1.onmessage = () => deferred.shift()?.();
}

const page = typeof document === "undefined" ? undefined : document; // a worker has none

const platform: Platform = {
  clock: systemClock,
  // Timers of a page that is hidden hardly run; messages of a channel do.
  defer(f) {
    if (channel === undefined) {
      setTimeout(f);
      return;
    }
    deferred.push(f);
    channel.port2.postMessage(0);
  },
  random: () => (crypto.getRandomValues(new Uint32Array(1))[0] as number) / 0x100000000,
  visible: () => page?.visibilityState !== "hidden",
  watch,
  check({ scheme }) {
    if (scheme !== "ws" && scheme !== "wss") {
      throw new TypeError("a browser connects to ws:// and wss:// alone");
    }
  },
  open(address, events, signal) {
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      const socket = new WebSocket(urlOf(address), "rollcall.v1");
      socket.binaryType = "arraybuffer";
      const settled = () => {
        socket.onopen = socket.onclose = null;
        signal.removeEventListener("abort", aborted);
      };
      const aborted = () => {
        settled();
        socket.close();
        reject(signal.reason);
      };
      signal.addEventListener("abort", aborted);
      socket.onopen = () => {
        settled();
        resolve(new WebSocketTransport(socket, events));
      };
      socket.onclose = ({ code, reason }) => {
        settled();
        reject(meaningOf(code, reason) ?? networkError("the WebSocket could not be opened"));
      };
    });
  },
};

function watch({ wake, leave, back }: PageEvents): () => void {
  const visible = () => {
    if (page?.visibilityState === "visible") {
      wake();
    }
  };
  const heard: [target: EventTarget, type: string, f: () => void][] = [
    [globalThis, "online", wake],
    [globalThis, "pageshow", back],
    [globalThis, "pagehide", leave],
  ];
  if (page !== undefined) {
    heard.push([page, "visibilitychange", visible], [page, "resume", wake]);
  }
  for (const [target, type, f] of heard) {
    target.addEventListener(type, f);
  }
  return () => {
    for (const [target, type, f] of heard) {
      target.removeEventListener(type, f);
    }
  };
}
