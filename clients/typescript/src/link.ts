import { moveTo, type Address } from "./address.js";
import { Backoff } from "./backoff.js";
import { encodeMap, parseLogonReply, parseNumber } from "./bodies.js";
import { Code } from "./codes.js";
import { Connection, type Owner, type Welcome } from "./connection.js";
import { RollcallError, messageOf, networkError } from "./errors.js";
import { RENEW } from "./frame.js";
import type { Settings } from "./options.js";
import type { Platform } from "./platform.js";
import { renewAll, retryAfter } from "./renew.js";
import type { State } from "./states.js";
import { Deadline, sleep, until } from "./wait.js";

/** Link makes a client's connections, one after the other, and knows whether there may be another. */
export class Link {
  readonly #platform: Platform;
  readonly #settings: Settings;
  readonly #owner: Owner;
  readonly #address: Address;
  readonly #tell: (state: State) => void;
  readonly #backoff: Backoff;
  readonly #stop = new AbortController();
  #why: RollcallError | undefined; // of the stop
  #connection: Connection | undefined;
  #welcome: Welcome | undefined;
  #session = "";
  #moved: Address | undefined; // where the server has sent us
  #attempt: AbortController | undefined;
  #away: { back: Promise<void>; isBack(): void } | undefined; // while the page is left
  #atOnce = false; // the next attempt does not wait
  #endWait = () => {};

  /** tell is called for each state but the last, which run returns. */
  constructor(platform: Platform, settings: Settings, address: Address, owner: Owner, tell: (state: State) => void) {
    this.#platform = platform;
    this.#settings = settings;
    this.#address = address;
    this.#owner = owner;
    this.#tell = tell;
    const { min, max } = settings.reconnect ?? { min: 0, max: 0 };
    this.#backoff = new Backoff(min, max, platform.random);
  }

  /** The connection that is logged on; undefined while there is none. */
  get connection(): Connection | undefined {
    return this.#connection?.over.aborted === false ? this.#connection : undefined;
  }

  /** Whether stop was called. */
  get stopped(): boolean {
    return this.#why !== undefined;
  }

  /** first makes the first connection. */
  async first(signal: AbortSignal | undefined): Promise<void> {
    await this.#connect(this.#address, signal);
  }

  /** run serves one connection after the other, and returns why there is no other one. */
  async run(): Promise<RollcallError> {
    const unwatch = this.#platform.watch({
      wake: () => this.#wake(),
      leave: () => this.#leave(),
      back: () => this.#back(),
    });
    const { clock } = this.#platform;
    try {
      for (;;) {
        const since = clock.now();
        const why = await (this.#connection as Connection).finished;
        this.#connection = undefined;
        if (clock.now() - since >= (this.#settings.reconnect?.stable ?? 0)) {
          this.#backoff.reset();
        }
        const end = this.#why ?? (await this.#reconnect(why));
        if (end !== undefined) {
          return end;
        }
      }
    } finally {
      unwatch();
    }
  }

  /** stop ends the connection in order, and makes no other. The first call counts. */
  stop(why: RollcallError): void {
    if (this.#why === undefined) {
      this.#why = why;
      this.#stop.abort(why);
      this.#connection?.leave(why, Code.ClientClosed, "");
    }
  }

  /** reconnectNow ends the backoff before the next attempt. */
  reconnectNow(): void {
    if (this.connection === undefined) {
      this.#atOnce = true;
      this.#endWait();
    }
  }

  /** reconnect makes the next connection after one was lost because of why. It returns why there is none, or undefined. */
  async #reconnect(why: RollcallError): Promise<RollcallError | undefined> {
    const { clock } = this.#platform;
    const lost = clock.now();
    const ghostTimeout = this.#welcome?.ghostTimeout ?? 0;
    let tried = this.#moved ?? this.#address;
    let error = why;
    for (let failed = false; ; failed = true) {
      // The server may still hold our own dead connection, until its heartbeat timeout has passed.
      const ghost = failed && error.code === Code.AlreadyLoggedOn && clock.now() - lost < ghostTimeout;
      if (!(error.mayReconnect || ghost) || this.#settings.reconnect === undefined) {
        return error;
      }
      if (failed) {
        this.#moved = undefined;
      }
      this.#moved = moveTo(tried, error.info.get("address") ?? "") ?? this.#moved;
      this.#tell({ state: "reconnecting", error });
      await this.#pause(retryAfter(error));
      if (this.#why !== undefined) {
        return this.#why;
      }
      try {
        tried = this.#moved ?? this.#address;
        await this.#connect(tried, this.#stop.signal);
        return undefined;
      } catch (e) {
        error = asError(e);
      }
      if (this.#why !== undefined) {
        return this.#why;
      }
    }
  }

  /** pause waits before an attempt: as long as the server asks, while the page is left, and then for the backoff, which reconnectNow ends. */
  async #pause(least: number): Promise<void> {
    const { clock } = this.#platform;
    if (least > 0) {
      await sleep(clock, least, this.#stop.signal);
    }
    while (this.#away !== undefined && !this.stopped) {
      await until(this.#away.back, this.#stop.signal).catch(() => {});
    }
    const wait = this.#backoff.next();
    if (!this.#atOnce) {
      await sleep(clock, wait, this.#stop.signal, (end) => (this.#endWait = end));
      this.#endWait = () => {};
    }
    if (this.#atOnce) {
      this.#atOnce = false;
      this.#backoff.reset();
    }
  }

  /** connect makes one attempt. It throws a RollcallError, or the reason of signal. */
  async #connect(address: Address, signal: AbortSignal | undefined): Promise<void> {
    const { user, device, connectTimeout } = this.#settings;
    const attempt = (this.#attempt = new AbortController());
    const late = () => networkError(`no logon within ${connectTimeout} ms`);
    const deadline = new Deadline(this.#platform.clock, connectTimeout, late, attempt.signal, ...(signal === undefined ? [] : [signal]));
    const connection = new Connection(this.#platform, this.#owner, this.#settings);
    try {
      const body = encodeMap(await this.#fields(this.#session, deadline.signal));
      const transport = await this.#platform.open(address, connection, deadline.signal);
      await until(connection.logOn(transport, user, device, body, (welcome) => this.#accepted(connection, welcome)), deadline.signal);
    } catch (e) {
      connection.drop(asError(e));
      throw signal?.aborted === true ? signal.reason : asError(e);
    } finally {
      deadline.end();
      this.#attempt = undefined;
    }
  }

  #accepted(connection: Connection, welcome: Welcome): void {
    if (this.#why !== undefined) {
      return; // the attempt is about to end
    }
    this.#connection = connection;
    this.#welcome = welcome;
    this.#session = welcome.session;
    this.#atOnce = false;
    this.#tell({ state: "online", user: welcome.user || this.#settings.user });
    if (welcome.expires !== undefined) {
      void renewAll(this.#platform, welcome.expires, () => this.#renew(connection), connection.over);
    }
  }

  async #renew(connection: Connection): Promise<number | undefined> {
    const { device, connectTimeout } = this.#settings;
    const late = () => networkError(`no token within ${connectTimeout} ms`);
    const deadline = new Deadline(this.#platform.clock, connectTimeout, late, connection.over);
    try {
      const body = encodeMap(await this.#fields("", deadline.signal));
      const reply = await connection.request({ type: RENEW, device, body }, connectTimeout);
      return parseNumber(parseLogonReply(reply.body, "refused").get("expires-ms"), Number.MAX_SAFE_INTEGER) || undefined;
    } finally {
      deadline.end();
    }
  }

  /** fields returns what a Logon or a Renew carries. */
  async #fields(session: string, signal: AbortSignal): Promise<Map<string, string>> {
    const { token, fields } = this.#settings;
    const all = new Map(fields);
    if (session !== "") {
      all.set("session", session);
    }
    if (token !== undefined) {
      const given: unknown = await until((async () => token(signal))(), signal).catch((e: unknown) => {
        throw e instanceof RollcallError || signal.aborted ? e : networkError("there is no token to log on with", e);
      });
      if (typeof given !== "string") {
        throw networkError("there is no token to log on with: the option token returned what is no text");
      }
      if (given !== "") {
        all.set("token", given);
      }
    }
    return all;
  }

  #wake(): void {
    this.connection?.wake();
    this.reconnectNow();
  }

  #leave(): void {
    if (this.#away === undefined) {
      let isBack = () => {};
      const back = new Promise<void>((resolve) => (isBack = resolve));
      this.#away = { back, isBack };
      const left = networkError("the page was left");
      this.#attempt?.abort(left);
      this.#connection?.drop(left);
    }
  }

  #back(): void {
    const away = this.#away;
    this.#away = undefined;
    away?.isBack();
    this.#wake();
  }
}

function asError(e: unknown): RollcallError {
  return e instanceof RollcallError ? e : networkError(messageOf(e), e);
}
