// A clock, a network and a page that tests move by hand, and a server's side of a connection.

import assert from "node:assert/strict";
import type { Address } from "../dist/address.js";
import { encodeClose, encodeMap } from "../dist/bodies.js";
import { Client } from "../dist/client.js";
import type { RollcallError } from "../dist/errors.js";
import { CLOSE, ERROR, FrameReader, FrameWriter, LOGON, REPLY, type Frame } from "../dist/frame.js";
import type { Options } from "../dist/options.js";
import type { Clock, PageEvents, Platform, Transport, TransportEvents } from "../dist/platform.js";

export const utf8 = (s: string): Uint8Array => new TextEncoder().encode(s);
export const text = (b: Uint8Array): string => new TextDecoder().decode(b);
export const hex = (b: Uint8Array): string => Buffer.from(b).toString("hex");
export const unhex = (s: string): Uint8Array => new Uint8Array(Buffer.from(s, "hex"));

/** settle lets all run that waits neither for a timer nor for the network. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 12; i++) {
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** frameBytes returns the bytes of a frame, whose missing fields are 0 or empty. */
export function frameBytes(frame: Partial<Frame> & { type: number }): Uint8Array {
  const w = new FrameWriter();
  w.append({ flags: 0, id: 0, device: 0, user: "", to: "", body: new Uint8Array(), ...frame });
  return w.take();
}

export class FakeClock implements Clock {
  time = 0;
  #timers = new Set<{ at: number; f: () => void }>();

  now(): number {
    return this.time;
  }

  timer(ms: number, f: () => void): () => void {
    assert.ok(ms <= 0x7fffffff, "a timer of JavaScript takes no more");
    const t = { at: this.time + Math.max(ms, 0), f };
    this.#timers.add(t);
    return () => this.#timers.delete(t);
  }

  /** How many timers run. */
  get timers(): number {
    return this.#timers.size;
  }

  /** advance lets so much time pass, timer by timer. */
  async advance(ms: number): Promise<void> {
    const end = this.time + ms;
    for (;;) {
      await settle();
      const next = [...this.#timers].sort((a, b) => a.at - b.at)[0];
      if (next === undefined || next.at > end) {
        break;
      }
      this.time = Math.max(this.time, next.at); // late after standStill
      this.#timers.delete(next);
      next.f();
    }
    this.time = end;
    await settle();
  }

  /** standStill lets time pass in which the program does not run; the timers are late then. */
  standStill(ms: number): void {
    this.time += ms;
  }
}

/** Peer is the server's side of one connection. */
export class Peer implements Transport {
  readonly address: Address;
  readonly sent: Frame[] = [];
  readonly at: number;
  buffered = 0;
  paused = false;
  ended = false;
  closed = false;
  readonly #events: TransportEvents;
  readonly #reader = new FrameReader(1 << 30);

  constructor(address: Address, events: TransportEvents, at: number) {
    this.address = address;
    this.#events = events;
    this.at = at;
  }

  write(bytes: Uint8Array): void {
    this.#reader.feed(bytes, (f) => this.sent.push(f) > 0);
  }

  end(): void {
    this.ended = true;
  }

  close(): void {
    this.closed = true;
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
  }

  /** drain lets what is queued go out. */
  drain(): void {
    this.buffered = 0;
    this.#events.drained();
  }

  /** bytes brings the client bytes. */
  async bytes(b: Uint8Array): Promise<void> {
    this.#events.data(b);
    await settle();
  }

  /** send brings the client a frame. */
  send(frame: Partial<Frame> & { type: number }): Promise<void> {
    return this.bytes(frameBytes(frame));
  }

  /** welcome accepts the logon. */
  welcome(fields: Record<string, string> = {}, user = ""): Promise<void> {
    return this.send({ type: LOGON, flags: REPLY, id: 1, to: user, body: new Uint8Array([0, 0, ...encodeMap(new Map(Object.entries(fields)))]) });
  }

  /** refuse refuses the logon. */
  refuse(code: number, why = "", info: Record<string, string> = {}): Promise<void> {
    return this.send({ type: LOGON, flags: REPLY | ERROR, id: 1, body: encodeClose(code, why, new Map(Object.entries(info))) });
  }

  /** close ends the connection with a Close. */
  closeWith(code: number, why = "", info: Record<string, string> = {}): Promise<void> {
    return this.send({ type: CLOSE, body: encodeClose(code, why, new Map(Object.entries(info))) });
  }

  /** hangUp ends the stream. */
  async hangUp(error?: RollcallError): Promise<void> {
    this.#events.ended(error);
    await settle();
  }

  /** ofType returns the frames of a type that the client has sent. */
  ofType(type: number): Frame[] {
    return this.sent.filter((f) => f.type === type);
  }
}

export class FakePlatform implements Platform {
  readonly clock = new FakeClock();
  readonly peers: Peer[] = [];
  page: PageEvents | undefined;
  shown = true;
  /** What random returns. */
  chance = 0.5;
  /** While set, connections fail with it. */
  broken: RollcallError | undefined;
  /** When attempts to connect were made. */
  readonly attempts: number[] = [];

  defer(f: () => void): void {
    setImmediate(f);
  }

  random = (): number => this.chance;

  visible(): boolean {
    return this.shown;
  }

  watch(events: PageEvents): () => void {
    this.page = events;
    return () => (this.page = undefined);
  }

  check(): void {}

  async open(address: Address, events: TransportEvents): Promise<Transport> {
    this.attempts.push(this.clock.time);
    if (this.broken !== undefined) {
      throw this.broken;
    }
    const peer = new Peer(address, events, this.clock.time);
    this.peers.push(peer);
    return peer;
  }

  /** The server's side of the latest connection. */
  get peer(): Peer {
    return this.peers.at(-1) as Peer;
  }

  /** begin begins to connect, and returns when the Logon has been sent. */
  async begin(options: Options = {}, url = "wss://a.example/rc"): Promise<{ connected: Promise<Client> }> {
    const { connect } = Client as unknown as { connect(p: Platform, url: string, o: Options): Promise<Client> };
    const connected = connect.call(Client, this, url, { user: "alice", ...options });
    connected.catch(() => {}); // a test looks at it later
    await settle();
    return { connected };
  }

  /** online connects. */
  async online(options: Options = {}, fields: Record<string, string> = {}, url?: string): Promise<Client> {
    const { connected } = await this.begin(options, url);
    await this.peer.welcome(fields);
    return connected;
  }
}

/** statesOf gathers the states of a client as texts: "online", "reconnecting 1001", "closed 2000". */
export function statesOf(client: Client): string[] {
  const states: string[] = [];
  void (async () => {
    for await (const s of client.states()) {
      states.push(s.state === "online" ? "online" : `${s.state} ${s.error.code}`);
    }
    states.push("end");
  })();
  return states;
}
