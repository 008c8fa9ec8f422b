import { encodeClose, parseClose, parseLogonReply, parseNumber, parsePush, type Push } from "./bodies.js";
import { Code } from "./codes.js";
import { RollcallError, invalidMessage, networkError } from "./errors.js";
import { CLOSE, EMPTY, ERROR, FIRST_SYSTEM_TYPE, FrameReader, FrameWriter, HEARTBEAT, LOGON, PUSH, REPLY, type Frame } from "./frame.js";
import type { Outgoing } from "./incoming.js";
import type { Platform, Transport, TransportEvents } from "./platform.js";
import { Pulse } from "./pulse.js";

/** LOGON_ID is the message ID of the Logon, which is answered before any other request is sent. */
const LOGON_ID = 1;
/** How many bytes may wait to be sent before a send waits, and how many make a flush at once. */
const MAX_QUEUED = 256 << 10;
const FLUSH_AT = 64 << 10;
/** The largest body without the server's max-body. */
export const DEFAULT_MAX_BODY = 1 << 20;
const DEFAULT_HEARTBEAT = 10_000;
const LEAST_HEARTBEAT = 100;
/** A server with very short intervals may pause for so long. */
const LEAST_SERVER_TIMEOUT = 3_000;
const DAY = 86_400_000;
/** How long the server may take to answer when the page has woken up. */
const WAKE_PATIENCE = 3_000;
/** A timer that is so late shows that the program stood still. */
const LATE = 250;
/** How many times the limit of what waits for handlers may wait where reading cannot stop. */
const HARD_LIMIT = 4;

/** Owner is whom a connection brings what comes. */
export interface Owner {
  message(frame: Frame): void;
  push(push: Push): void;
  /** How many bytes wait for handlers, and how many may. */
  readonly inboxBytes: number;
  readonly maxInbound: number;
}

/** ConnectionSettings are the client's, in milliseconds and bytes. */
export interface ConnectionSettings {
  readonly maxBody: number | undefined;
  readonly closeTimeout: number;
}

/** Welcome is what the reply to a Logon says. */
export interface Welcome {
  readonly user: string;
  readonly session: string;
  /** How long the session may last, in milliseconds; undefined for ever. */
  readonly expires: number | undefined;
  /** How long the server may take to notice that this connection is dead. */
  readonly ghostTimeout: number;
}

interface Pending {
  readonly to: string;
  resolve(reply: Frame): void;
  reject(error: unknown): void;
}

/** Connection is one connection: it logs on, sends, finds the answers of requests, and sees to heartbeats. */
export class Connection implements TransportEvents {
  /** finished is resolved with the reason when the connection is over, and its transport with it. */
  readonly finished: Promise<RollcallError>;
  /** over is aborted at the same time, or earlier, when no request can be answered any more. */
  readonly over: AbortSignal;
  readonly #platform: Platform;
  readonly #owner: Owner;
  readonly #settings: ConnectionSettings;
  readonly #controller = new AbortController();
  readonly #reader: FrameReader;
  readonly #writer = new FrameWriter();
  readonly #requests = new Map<number, Pending>();
  #transport: Transport | undefined;
  #state: "logon" | "online" | "leaving" | "over" = "logon";
  #logon: { accepted(welcome: Welcome): void; resolve(): void; reject(error: unknown): void } | undefined;
  #finish!: (why: RollcallError) => void;
  #why: RollcallError | undefined;
  #lastID: number;
  #maxBody = DEFAULT_MAX_BODY;
  #flushing = false;
  #waiting: { resolve(): void; reject(error: unknown): void }[] = [];
  #pulse: Pulse | undefined;
  #stopTimer = () => {};
  #stopPatience = () => {};
  #waking = false;

  constructor(platform: Platform, owner: Owner, settings: ConnectionSettings) {
    this.#platform = platform;
    this.#owner = owner;
    this.#settings = settings;
    this.#reader = new FrameReader(settings.maxBody ?? DEFAULT_MAX_BODY);
    // Replies that are passed on reach all sessions of a user. Two that counted from 1 would take each other's for their own.
    this.#lastID = Math.floor(platform.random() * 0x100000000);
    this.over = this.#controller.signal;
    this.finished = new Promise((resolve) => (this.#finish = resolve));
  }

  /**
   * logOn sends the Logon over the transport, whose events this connection has got, and waits for the answer. accepted is called before
   * any frame behind the answer is looked at.
   */
  logOn(transport: Transport, user: string, device: number, body: Uint8Array, accepted: (welcome: Welcome) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#why !== undefined) {
        transport.close();
        reject(this.#why);
        return;
      }
      this.#transport = transport;
      this.#logon = { accepted, resolve, reject };
      this.#append({ type: LOGON, flags: 0, id: LOGON_ID, device, user, to: "", body });
      this.#flush();
    });
  }

  /** send queues a message. It waits while too much waits to be sent. It throws a TypeError for a message that cannot be encoded. */
  send(message: Outgoing): Promise<void> {
    if (this.#state !== "online") {
      return Promise.reject(new RollcallError(Code.NetworkError, "there is no connection", { kind: "not-connected" }));
    }
    const size = message.body?.length ?? 0;
    if (size > this.#maxBody) {
      const text = `a body of ${size} bytes, and ${this.#maxBody} is the limit of the server or of maxBody`;
      return Promise.reject(new RollcallError(Code.MessageTooLarge, text, { kind: "too-large" }));
    }
    try {
      this.#append({ flags: 0, id: 0, device: 0, user: "", to: "", body: EMPTY, ...message });
    } catch (e) {
      return Promise.reject(e);
    }
    if (this.#queued <= MAX_QUEUED) {
      return SENT;
    }
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  /** request sends a message under an ID of its own, and waits for the reply: so many milliseconds, and until signal is aborted. */
  request(message: Outgoing, timeout: number, signal?: AbortSignal): Promise<Frame> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) {
        reject(signal.reason);
        return;
      }
      const id = this.#nextID();
      const fail = (error: unknown) => {
        settle();
        reject(error);
      };
      const late = () => fail(new RollcallError(Code.TimedOut, `no answer came within ${timeout} ms`, { kind: "timeout" }));
      const aborted = () => fail(signal?.reason);
      const stopTimer = timeout === Infinity ? undefined : this.#platform.clock.timer(timeout, late);
      const settle = () => {
        this.#requests.delete(id);
        stopTimer?.();
        signal?.removeEventListener("abort", aborted);
      };
      signal?.addEventListener("abort", aborted);
      this.#requests.set(id, {
        to: message.to ?? "",
        resolve: (reply) => {
          settle();
          resolve(reply);
        },
        reject: fail,
      });
      const sent = this.send({ ...message, id });
      if (sent !== SENT) {
        sent.catch(fail);
      }
      this.resume(); // a reader that waits for the handlers goes on: the reply may come later
    });
  }

  /** leave ends the connection in order: what is queued goes out, and then a Close; the other side has time to end its own. */
  leave(why: RollcallError, code: number, text: string): void {
    if (this.#state === "leaving" || this.#state === "over") {
      return;
    }
    if (this.#transport === undefined) {
      this.drop(why);
      return;
    }
    this.#append({ type: CLOSE, flags: 0, id: 0, device: 0, user: "", to: "", body: encodeClose(code, text) });
    this.#flush();
    this.#state = "leaving";
    this.#abandon(why);
    this.#transport.end();
    this.#transport.resume?.();
    this.#stopTimer = this.#platform.clock.timer(this.#settings.closeTimeout, () => this.drop(why));
  }

  /** drop ends the connection at once. */
  drop(why: RollcallError): void {
    if (this.#state === "over") {
      return;
    }
    this.#state = "over";
    this.#abandon(why);
    this.#transport?.close();
    this.#logon?.reject(this.#why);
    this.#finish(this.#why ?? why);
  }

  /** resume reads on after a time in which too much waited for the handlers. */
  resume(): void {
    if (this.#pulse?.paused === true) {
      this.#pulse.paused = false;
      this.#pulse.hear(this.#platform.clock.now());
      this.#transport?.resume?.();
    }
  }

  /** wake asks the server at once whether it is there, and gives it little time. */
  wake(): void {
    if (this.#state === "online") {
      this.#waking = true;
      this.#ask();
      this.#awaitSign(true);
    }
  }

  data(bytes: Uint8Array): void {
    if (this.#state === "leaving" || this.#state === "over") {
      return;
    }
    this.#waking = false;
    this.#pulse?.hear(this.#platform.clock.now());
    try {
      this.#reader.feed(bytes, this.#take);
    } catch (e) {
      const error = e instanceof RollcallError ? e : invalidMessage(String(e));
      this.leave(error, error.code, error.text);
      return;
    }
    this.#checkRoom();
  }

  drained(): void {
    if (this.#waiting.length > 0 && this.#queued <= MAX_QUEUED) {
      const waiting = this.#waiting;
      this.#waiting = [];
      for (const w of waiting) {
        w.resolve();
      }
    }
  }

  ended(error?: RollcallError): void {
    const where = this.#reader.midFrame ? " within a frame" : " without a Close";
    this.drop(error ?? networkError(`the server ended the connection${where}`));
  }

  readonly #take = (frame: Frame): boolean => {
    this.#receive(frame);
    return this.#state === "online";
  };

  #receive(frame: Frame): void {
    if (this.#state === "logon") {
      this.#loggedOn(frame);
    } else if ((frame.flags & REPLY) !== 0) {
      this.#answered(frame);
    } else if (frame.type === HEARTBEAT) {
      if (frame.id !== 0) {
        this.#post(HEARTBEAT, REPLY, frame.id);
      }
    } else if (frame.type === CLOSE) {
      this.drop(parseClose(frame.body, "connection"));
    } else if (frame.type === PUSH) {
      this.#owner.push(parsePush(frame.body));
    } else if (frame.type < FIRST_SYSTEM_TYPE) {
      this.#owner.message(frame);
    } // else it is of a later version of the protocol, or of an optional package
  }

  #loggedOn(frame: Frame): void {
    if (frame.type === CLOSE && (frame.flags & REPLY) === 0) {
      this.drop(parseClose(frame.body, "connection"));
      return;
    }
    if (frame.type !== LOGON || (frame.flags & REPLY) === 0 || frame.id !== LOGON_ID) {
      throw invalidMessage(`the server answered the logon with a message of type ${frame.type}`);
    }
    let fields: Map<string, string>;
    try {
      fields = parseLogonReply(frame.body, "connection");
    } catch (e) {
      if ((frame.flags & ERROR) === 0 || !(e instanceof RollcallError)) {
        throw e;
      }
      this.drop(e);
      return;
    }
    if ((frame.flags & ERROR) !== 0) {
      throw invalidMessage("the logon was refused without a code");
    }
    this.#state = "online";
    this.#setMaxBody(parseNumber(fields.get("max-body"), Number.MAX_SAFE_INTEGER));
    const asked = parseNumber(fields.get("heartbeat-ms"), DAY) || DEFAULT_HEARTBEAT;
    const interval = Math.max(asked, LEAST_HEARTBEAT);
    this.#pulse = new Pulse(this.#platform.clock.now(), interval, Math.max(3 * interval, LEAST_SERVER_TIMEOUT));
    this.#schedule();
    const logon = this.#logon;
    this.#logon = undefined;
    logon?.accepted({
      user: frame.to,
      session: fields.get("session") ?? "",
      expires: parseNumber(fields.get("expires-ms"), Number.MAX_SAFE_INTEGER) || undefined,
      ghostTimeout: 3 * interval,
    });
    logon?.resolve();
  }

  #setMaxBody(told: number | undefined): void {
    const own = this.#settings.maxBody;
    this.#reader.maxBody = Math.max(own ?? DEFAULT_MAX_BODY, told ?? 0);
    this.#maxBody = Math.min(told ?? DEFAULT_MAX_BODY, own ?? Infinity);
  }

  /** answered gives a reply to the request that waits for it: not one of a user who was not asked, which is for another session of this user. */
  #answered(frame: Frame): void {
    const request = this.#requests.get(frame.id);
    if (request === undefined || (frame.user !== "" && frame.user !== request.to)) {
      return;
    }
    if ((frame.flags & ERROR) === 0) {
      request.resolve(frame);
      return;
    }
    try {
      request.reject(parseClose(frame.body, "refused"));
    } catch (e) {
      request.reject(e);
    }
  }

  /** abandon ends all that waits. */
  #abandon(why: RollcallError): void {
    this.#why ??= why;
    this.#stopTimer();
    this.#stopPatience();
    const lost = new RollcallError(Code.NetworkError, "the connection was lost before the answer came", { kind: "disconnected", cause: why });
    this.#controller.abort(lost);
    for (const r of [...this.#requests.values(), ...this.#waiting.splice(0)]) {
      r.reject(lost);
    }
  }

  /** checkRoom stops reading while too much waits for the handlers, unless a request waits for its reply, which may come behind that. */
  #checkRoom(): void {
    const { inboxBytes, maxInbound } = this.#owner;
    if (inboxBytes < maxInbound || this.#pulse === undefined || this.#state !== "online") {
      return;
    }
    if (this.#requests.size === 0 && this.#transport?.pause !== undefined) {
      this.#pulse.paused = true;
      this.#transport.pause();
    } else if (inboxBytes >= HARD_LIMIT * maxInbound) {
      this.drop(new RollcallError(Code.RateLimited, "more has come than may wait for the handlers", { kind: "connection" }));
    }
  }

  #nextID(): number {
    do {
      this.#lastID = (this.#lastID + 1) >>> 0;
    } while (this.#lastID === 0 || this.#requests.has(this.#lastID));
    return this.#lastID;
  }

  get #queued(): number {
    return this.#writer.length + (this.#transport?.buffered ?? 0);
  }

  /** post sends a message without a body. */
  #post(type: number, flags: number, id: number): void {
    this.#append({ type, flags, id, device: 0, user: "", to: "", body: EMPTY });
  }

  #append(frame: Frame): void {
    this.#writer.append(frame);
    if (this.#writer.length >= FLUSH_AT) {
      this.#flush();
    } else if (!this.#flushing) {
      this.#flushing = true;
      this.#platform.defer(this.#flushLater);
    }
  }

  readonly #flushLater = (): void => {
    this.#flushing = false;
    this.#flush();
  };

  #flush(): void {
    if (this.#writer.length > 0 && this.#state !== "over" && this.#state !== "leaving") {
      this.#transport?.write(this.#writer.take());
      if (this.#pulse !== undefined) {
        this.#pulse.sent = this.#platform.clock.now();
      }
    }
  }

  #schedule(): void {
    const pulse = this.#pulse as Pulse;
    const { clock } = this.#platform;
    const wait = this.#platform.visible() ? pulse.wait(clock.now()) : pulse.postpone(clock.now());
    this.#stopTimer = clock.timer(wait, () => this.#beat(pulse));
  }

  #beat(pulse: Pulse): void {
    if (this.#platform.visible()) {
      switch (pulse.beat(this.#platform.clock.now())) {
        case "lost":
          this.drop(networkError("the server has been silent for too long"));
          return;
        case "ask":
          this.#ask();
          break;
        case "beat":
          this.#post(HEARTBEAT, 0, 0);
          break;
        case "none":
      }
    } else if (pulse.hiddenBeat(this.#platform.clock.now())) {
      this.#post(HEARTBEAT, 0, 0);
    }
    this.#flush();
    this.#schedule();
  }

  #ask(): void {
    this.#pulse?.asks(this.#platform.clock.now());
    this.#post(HEARTBEAT, 0, this.#nextID());
  }

  /** awaitSign ends the connection if no byte comes in a little while. After a standstill, which may hide one, it asks once more. */
  #awaitSign(again: boolean): void {
    this.#stopPatience();
    const { clock } = this.#platform;
    const due = clock.now() + WAKE_PATIENCE;
    this.#stopPatience = clock.timer(WAKE_PATIENCE, () => {
      if (this.#waking && again && clock.now() - due >= LATE) {
        this.#ask();
        this.#awaitSign(false);
      } else if (this.#waking) {
        this.drop(networkError("the server does not answer"));
      }
    });
  }
}

const SENT = Promise.resolve();
