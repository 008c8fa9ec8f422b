import { parseAddress } from "./address.js";
import { encodeIDs, encodePushAck, parseIDs, type Push } from "./bodies.js";
import { Code } from "./codes.js";
import type { Connection } from "./connection.js";
import { RollcallError } from "./errors.js";
import { FIRST_SYSTEM_TYPE, PUSH_ACK, WHO_IS_ONLINE, type Frame } from "./frame.js";
import { Inbox } from "./inbox.js";
import { Link } from "./link.js";
import { Incoming, type Outgoing } from "./incoming.js";
import type { AskOptions, Handler, Reply, RequestOptions, SendOptions } from "./message.js";
import { settingsOf, type Options, type Settings } from "./options.js";
import type { Platform } from "./platform.js";
import { PushMemory } from "./pushmemory.js";
import { States, type State } from "./states.js";
import { until } from "./wait.js";

/** How long a request waits by default. */
const REQUEST_TIMEOUT = 30_000;
/** The bytes that a message counts as besides its body. */
const MESSAGE_SIZE = 128;

/**
 * Client is one user's connection to a server, and the connections that replace it when it is lost. connect makes it. Nothing that is
 * printed of it shows its token or its session.
 */
export class Client {
  readonly #platform: Platform;
  readonly #settings: Settings;
  readonly #link: Link;
  readonly #inbox: Inbox;
  readonly #handlers = new Map<number, Handler>();
  readonly #pushes = new PushMemory();
  #onPush: ((push: Push) => void | Promise<void>) | undefined;
  // The first logon sets these, before anyone has the client.
  #state!: State;
  #states: States | undefined;
  #loop!: Promise<void>;

  /** connect makes clients. */
  private constructor(platform: Platform, url: string, options: Options) {
    const address = parseAddress(url);
    platform.check(address);
    this.#platform = platform;
    this.#settings = settingsOf(options);
    const inbox = (this.#inbox = new Inbox(platform.defer, () => this.#link.connection?.resume()));
    this.#link = new Link(platform, this.#settings, address, {
      message: (frame) => inbox.put(() => this.#handle(frame), MESSAGE_SIZE + frame.body.length),
      push: (push) => inbox.put(() => this.#pushed(push), MESSAGE_SIZE + push.body.length),
      get inboxBytes() {
        return inbox.bytes;
      },
      maxInbound: this.#settings.maxInbound,
    }, (state) => this.#tell(state));
  }

  /** @internal Connects. The platform's own connect calls it. */
  static async connect(platform: Platform, url: string, options: Options): Promise<Client> {
    options.signal?.throwIfAborted();
    const client = new Client(platform, url, options);
    await client.#link.first(options.signal);
    client.#loop = client.#run();
    platform.defer(() => client.#inbox.start()); // by then the caller's code behind connect has set its handlers
    return client;
  }

  /** What the client is doing now. A loop over states may hear of it later, because it hears of it in order with the messages. */
  get state(): State {
    return this.#state;
  }

  /**
   * Returns the present state and those that follow, until the last one, closed. Each failed attempt to reconnect is a state too. They come in
   * order with the messages: online before those of its connection, reconnecting after them. Of more than 256 that are not taken the latest
   * are kept.
   */
  states(options: { signal?: AbortSignal } = {}): AsyncIterableIterator<State> {
    return (this.#states as States).stream(options.signal);
  }

  /**
   * Sets the handler for a message type of the application, 1 to 0xFEFF, in place of an earlier one. Messages of a type without a handler are
   * dropped; the server's requests are answered NoHandler. Handlers that are set right behind connect, before anything else is awaited,
   * miss nothing.
   */
  on(type: number, handler: Handler): void {
    checkType(type);
    checkFunction(handler);
    this.#handlers.set(type, handler);
  }

  /** Removes the handler for a message type. */
  off(type: number): void {
    this.#handlers.delete(type);
  }

  /**
   * Sets the handler of pushes, in place of an earlier one. Without one pushes are dropped, and not acknowledged. A push that is to be confirmed is
   * acknowledged when the promise of the handler has been fulfilled, and not when it was rejected; if the connection was lost meanwhile, on the
   * next one. The same push is not handed out again. The handler should ignore kinds that it does not know.
   */
  onPush(handler: (push: Push) => void | Promise<void>): void {
    checkFunction(handler);
    this.#onPush = handler;
  }

  /**
   * Sends a message, and expects no answer. The promise is fulfilled when the message is queued and no more than 256 KiB wait for the network;
   * then the body may be used again. A message under way when the connection is lost is lost without an error. It rejects with a RollcallError
   * of the kind not-connected, too-large, disconnected or closed, and with a TypeError for an argument that cannot be sent.
   */
  send(type: number, body: Uint8Array, options?: SendOptions): Promise<void> {
    const signal = options?.signal;
    try {
      checkType(type);
      signal?.throwIfAborted();
      const sent = this.#current().send({ type, to: options?.to ?? "", body });
      return signal === undefined ? sent : until(sent, signal);
    } catch (e) {
      return Promise.reject(e);
    }
  }

  /**
   * Sends a request, and returns the answer of the server or of the user it was sent to. It rejects with a RollcallError: of the kind refused, with
   * the code of an error reply, such as UserOffline; timeout; disconnected, when the connection was lost; and as send does.
   */
  async request(type: number, body: Uint8Array, options: RequestOptions = {}): Promise<Reply> {
    checkType(type);
    const reply = await this.#ask({ type, to: options.to ?? "", body }, options);
    return { from: reply.user, body: reply.body };
  }

  /** Asks which of these users, 1,000 at most, are online, and returns them in the same order. It rejects as request does. */
  async whoIsOnline(users: Iterable<string>, options: AskOptions = {}): Promise<string[]> {
    const reply = await this.#ask({ type: WHO_IS_ONLINE, body: encodeIDs([...users]) }, options);
    return parseIDs(reply.body);
  }

  /**
   * Ends the wait before the next attempt to reconnect, for a program that knows that the network is back. A time that the server asked for is
   * not shortened. While the client is online it does nothing.
   */
  reconnectNow(): void {
    this.#link.reconnectNow();
  }

  /**
   * Ends the client: what was sent goes out, then a Close. The connection is over when the server has ended its side, or after the option
   * closeTimeout. Open requests are rejected, and no further message is handed out. It does not wait for a running handler, which may call it. A push
   * whose handler has not finished is not acknowledged. Later calls return the same promise; it does not reject.
   */
  close(): Promise<void> {
    this.#link.stop(new RollcallError(Code.ClientClosed, "", { kind: "closed" }));
    this.#inbox.end();
    return this.#loop;
  }

  async #run(): Promise<void> {
    const why = await this.#link.run();
    const closed: State = { state: "closed", error: why };
    this.#state = closed;
    if (this.#link.stopped) {
      this.#states?.put(closed); // a handler that runs does not hold it up
    } else {
      this.#inbox.put(() => this.#told(closed), 0);
    }
  }

  /** tell notes a state, and puts it behind the messages that have come. */
  #tell(state: State): void {
    this.#state = state;
    if (this.#states === undefined) {
      this.#states = new States(state);
      return;
    }
    if (state.state === "online") {
      for (const id of this.#pushes.takeUnsent()) {
        this.#acknowledge(id);
      }
    }
    this.#inbox.put(() => this.#told(state), 0);
  }

  /** told lets the loops over states go on, and then the next message. */
  #told(state: State): Promise<void> {
    this.#states?.put(state);
    return new Promise((resolve) => this.#platform.defer(resolve));
  }

  #current(): Connection {
    const { connection } = this.#link;
    if (connection !== undefined) {
      return connection;
    }
    if (this.#link.stopped || this.#state.state === "closed") {
      const cause = this.#state.state === "closed" ? this.#state.error : undefined;
      throw new RollcallError(Code.ClientClosed, "the client is closed", { kind: "closed", cause });
    }
    throw new RollcallError(Code.NetworkError, "there is no connection", { kind: "not-connected" });
  }

  async #ask(message: Outgoing, options: AskOptions): Promise<Frame> {
    const { timeout = REQUEST_TIMEOUT, signal } = options;
    if (typeof timeout !== "number" || !(timeout > 0)) {
      throw new TypeError("the timeout is not a number above 0");
    }
    signal?.throwIfAborted();
    return this.#current().request(message, timeout, signal);
  }

  #handle(frame: Frame): void | Promise<void> {
    const handler = this.#handlers.get(frame.type);
    const message = new Incoming(frame, (f) => this.#answer(f));
    if (handler === undefined) {
      if (frame.user === "") { // another session of this user may answer another user
        void message.refuse(Code.NoHandler, "the client has no handler for this message type").catch(ignore);
      }
      return;
    }
    return this.#guard(() => handler(message), (error) => message.fail(error));
  }

  /** guard calls a function of the application, and tells what it throws. */
  #guard(f: () => void | Promise<void>, failed: (error: unknown) => void, passed: () => void = ignore): void | Promise<void> {
    const caught = (error: unknown) => {
      failed(error);
      try {
        this.#settings.onHandlerError?.(error);
      } catch {
        // An error of the function that is told of errors is dropped.
      }
    };
    try {
      const running: unknown = f();
      if (isThenable(running)) {
        return Promise.resolve(running).then(passed, caught);
      }
      passed();
    } catch (e) {
      caught(e);
    }
  }

  #answer(frame: Outgoing): Promise<void> {
    try {
      return this.#current().send(frame);
    } catch (e) {
      return Promise.reject(e);
    }
  }

  #pushed(push: Push): void | Promise<void> {
    const { id, confirm } = push;
    const handler = this.#onPush;
    if (handler === undefined) {
      return;
    }
    if (this.#pushes.has(id)) {
      this.#acknowledge(id);
      return;
    }
    return this.#guard(() => handler(push), ignore, () => {
      if (confirm) {
        this.#pushes.add(id);
        this.#acknowledge(id);
      }
    });
  }

  /** acknowledge sends a PushAck on the present connection, or keeps it for the next one: a server knows a push by its ID. */
  #acknowledge(id: string): void {
    const { connection } = this.#link;
    if (connection === undefined) {
      this.#pushes.later(id);
      return;
    }
    connection.send({ type: PUSH_ACK, body: encodePushAck(id) }).catch(() => this.#pushes.later(id));
  }
}

function checkType(type: number): void {
  if (!Number.isInteger(type) || type < 1 || type >= FIRST_SYSTEM_TYPE) {
    throw new TypeError("the message type is not within 1 to 0xFEFF");
  }
}

function checkFunction(f: unknown): void {
  if (typeof f !== "function") {
    throw new TypeError("the handler is not a function");
  }
}

function isThenable(v: unknown): v is PromiseLike<void> {
  return typeof v === "object" && v !== null && typeof (v as { then?: unknown }).then === "function";
}

function ignore(): void {}
