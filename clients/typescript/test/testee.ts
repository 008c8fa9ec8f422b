// The testee of docs/writing-a-client.md: what it reads are commands, what it writes are events, each a line of JSON. The programs around it
// bring the client of Node or of a browser, and say how a client is printed.

import type { Client, Message, NodeOptions, Push, RollcallError } from "@rollcall/client/node";

/** Host is the program around a testee. */
export interface Host {
  connect(url: string, options: NodeOptions): Promise<Client>;
  readCA(file: string): string;
  show(values: unknown[]): string;
  tell(event: object): void;
  isRollcallError(e: unknown): e is RollcallError;
}

interface Command {
  do: string;
  tag: string;
  type: number;
  to?: string;
  body?: string;
  size?: number;
  timeout_ms?: number;
  [name: string]: unknown;
}

const digits = Array.from({ length: 256 }, (_, n) => n.toString(16).padStart(2, "0"));

function hex(b: Uint8Array): string {
  let s = "";
  for (const n of b) {
    s += digits[n]; // an array of a large body's digits would take long
  }
  return s;
}

function unhex(s: string): Uint8Array {
  const b = new Uint8Array(s.length / 2);
  for (let i = 0; i < b.length; i++) {
    b[i] = Number.parseInt(s.slice(2 * i, 2 * i + 2), 16);
  }
  return b;
}

const bodyOf = (c: { body?: string; size?: number }): Uint8Array => (c.size === undefined ? unhex(c.body ?? "") : new Uint8Array(c.size));

/** Testee runs commands. */
export class Testee {
  readonly #host: Host;
  #client: Client | undefined;
  #options: NodeOptions = {};
  #dialling: AbortController | undefined;
  #lastError: unknown;
  #requests = new Map<number, Message>();
  #held = new Map<string, () => void>();

  constructor(host: Host) {
    this.#host = host;
  }

  /** run does what a line says. */
  run(line: string): void {
    const c = JSON.parse(line) as Command;
    const done = (p: Promise<object>) => p.then((event) => this.#host.tell({ ...event, tag: c.tag }), (e) => this.#failed(c.tag, e));
    const client = this.#client;
    switch (c.do) {
      case "dial":
        void this.#dial(c);
        return;
      case "show":
        this.#host.tell({ event: "shown", tag: c.tag, text: this.#host.show([client, this.#options, this.#lastError]) });
        return;
      case "close":
        void this.close();
        return;
      case "ack":
        this.#held.get(String(c["push"]))?.();
        return;
      case "reply":
        void this.#reply(c);
        return;
    }
    if (client === undefined) {
      this.#host.tell({ event: "error", tag: c.tag, reason: "not-connected" });
      return;
    }
    const to = c.to === undefined ? {} : { to: c.to };
    const options = c.timeout_ms === undefined ? to : { ...to, timeout: c.timeout_ms };
    if (c.do === "send") {
      void done(client.send(c.type, bodyOf(c), to).then(() => ({ event: "done" })));
    } else if (c.do === "request") {
      void done(client.request(c.type, bodyOf(c), options).then((r) => ({ event: "reply", from: r.from, body: hex(r.body) })));
    } else if (c.do === "online") {
      void done(client.whoIsOnline(c["users"] as string[], c.timeout_ms === undefined ? {} : { timeout: c.timeout_ms }).then((users) => ({ event: "reply", users })));
    }
  }

  /** close closes the client. */
  async close(): Promise<void> {
    this.#dialling?.abort();
    await this.#client?.close();
  }

  async #dial(c: Command): Promise<void> {
    const tokens = [...((c["tokens"] as string[] | undefined) ?? [])];
    const given: [keyof NodeOptions, unknown][] = [
      ["user", c["user"]],
      ["device", c["device"]],
      ["fields", c["fields"]],
      ["maxBody", c["max_body"]],
      ["token", tokens.length > 0 ? async () => (tokens.length > 1 ? tokens.shift() : tokens[0]) : undefined],
      ["ca", c["ca"] === undefined ? undefined : this.#host.readCA(String(c["ca"]))],
    ];
    const reconnect = Object.fromEntries(["min", "max", "stable"].map((n) => [n, c[`${n}_ms`]]).filter(([, v]) => v !== undefined));
    this.#options = { reconnect, ...Object.fromEntries(given.filter(([, v]) => v !== undefined)) };
    this.#dialling = new AbortController();
    let client: Client;
    try {
      client = await this.#host.connect(String(c["address"]), { ...this.#options, signal: this.#dialling.signal });
    } catch (e) {
      this.#state("closed", e);
      return;
    }
    this.#client = client;
    for (const type of (c["types"] as number[] | undefined) ?? [1]) {
      client.on(type, (m) => this.#message(m));
    }
    client.onPush((p) => this.#push(p, c["hold"] === true));
    for await (const s of client.states()) {
      if (s.state === "online") {
        this.#host.tell({ event: "state", state: "online", user: s.user });
      } else {
        this.#state(s.state, s.error);
      }
    }
  }

  #state(state: string, e: unknown): void {
    this.#lastError = e;
    const told = this.#host.isRollcallError(e)
      ? { code: e.code, text: e.text, may_reconnect: e.mayReconnect }
      : { code: this.#dialling?.signal.aborted === true ? 1000 : 1001, text: String(e), may_reconnect: true };
    this.#host.tell({ event: "state", state, ...told });
  }

  #message(m: Message): void {
    const told = { from: m.from, type: m.type, body: hex(m.body) };
    if (!m.isRequest) {
      this.#host.tell({ event: "message", ...told });
      return;
    }
    const request = this.#requests.size + 1;
    this.#requests.set(request, m);
    this.#host.tell({ event: "request", request, ...told });
  }

  async #reply(c: Command): Promise<void> {
    const m = this.#requests.get(Number(c["request"]));
    try {
      await (c["code"] === undefined ? m?.reply(bodyOf(c)) : m?.refuse(Number(c["code"]), String(c["text"] ?? "")));
    } catch (e) {
      this.#lastError = e; // the suite sees that no answer comes
    }
  }

  #push(p: Push, hold: boolean): void | Promise<void> {
    const { id, kind, name, time, confirm } = p;
    this.#host.tell({ event: "push", id, kind, name, time, confirm, metadata: Object.fromEntries(p.metadata), body: hex(p.body) });
    return hold ? new Promise((resolve) => this.#held.set(id, resolve)) : undefined;
  }

  #failed(tag: string, e: unknown): void {
    this.#lastError = e;
    if (!this.#host.isRollcallError(e)) {
      this.#host.tell({ event: "error", tag, reason: "invalid", text: String(e) });
      return;
    }
    const refused = e.kind === "refused" ? { code: e.code, text: e.text } : {};
    this.#host.tell({ event: "error", tag, reason: e.kind, ...refused });
  }
}
