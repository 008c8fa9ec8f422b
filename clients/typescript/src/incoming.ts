import { answerFor, encodeClose } from "./bodies.js";
import { Code } from "./codes.js";
import { RollcallError } from "./errors.js";
import { ERROR, REPLY, type Frame } from "./frame.js";
import type { Message } from "./message.js";

/** Outgoing is a frame to be sent, whose other fields are 0 or empty. */
export type Outgoing = Partial<Frame> & { type: number };

/** Incoming is a message that can be answered. */
export class Incoming implements Message {
  readonly type: number;
  readonly from: string;
  readonly body: Uint8Array;
  readonly #id: number;
  readonly #send: (frame: Outgoing) => Promise<void>;
  #answered = false;

  constructor(frame: Frame, send: (frame: Outgoing) => Promise<void>) {
    this.type = frame.type;
    this.from = frame.user;
    this.body = frame.body;
    this.#id = frame.id;
    this.#send = send;
  }

  get isRequest(): boolean {
    return this.#id !== 0;
  }

  async reply(body: Uint8Array): Promise<void> {
    try {
      await this.#answer(REPLY, body);
    } catch (e) {
      if (e instanceof RollcallError && e.kind === "too-large") {
        await this.#answer(REPLY | ERROR, encodeClose(Code.HandlerFailed, "the answer could not be sent"));
      }
      throw e;
    }
  }

  refuse(code: number, text = ""): Promise<void> {
    if (!Number.isInteger(code) || code < 3000 || code > 0xffff) {
      return Promise.reject(new TypeError("the code of an error reply is not within 3000 to 65535"));
    }
    return this.#answer(REPLY | ERROR, encodeClose(code, text));
  }

  /** fail answers with an error that the handler has thrown, unless it has answered. */
  fail(error: unknown): void {
    void this.#answer(REPLY | ERROR, answerFor(error)).catch(ignore); // without a connection the sender waits no longer
  }

  async #answer(flags: number, body: Uint8Array): Promise<void> {
    if (!this.isRequest) {
      return;
    }
    if (this.#answered) {
      throw new Error("the request has been answered");
    }
    this.#answered = true;
    try {
      await this.#send({ type: this.type, flags, id: this.#id, to: this.from, body });
    } catch (e) {
      this.#answered = false;
      throw e;
    }
  }
}

function ignore(): void {}
