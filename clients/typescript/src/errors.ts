import { Code, codeName, mayReconnect } from "./codes.js";

/**
 * ErrorKind says what failed.
 * - `connection`: a connection could not be made, its logon was refused, or it has ended; the code says why.
 * - `refused`: a request was answered with an error; the code says why.
 * - `timeout`: no answer came in time.
 * - `disconnected`: the connection was lost before the answer came. The server may have handled the request.
 * - `not-connected`: there is no connection at present, and nothing was sent.
 * - `too-large`: the body is larger than the server accepts or than the option `maxBody`, and was not sent.
 * - `closed`: the client has ended for good.
 */
export type ErrorKind = "connection" | "refused" | "timeout" | "disconnected" | "not-connected" | "too-large" | "closed";

/** ErrorDetails are what a RollcallError may have besides its code and text. */
export interface ErrorDetails {
  /** What failed. The default is `refused`, which is right for an error that a handler throws. */
  kind?: ErrorKind;
  /** Named values for programs. Known keys: `retry-ms`, `address`. */
  info?: ReadonlyMap<string, string>;
  /** The error that led to this one. */
  cause?: unknown;
}

const none: ReadonlyMap<string, string> = new Map();

/** RollcallError is the error of everything that fails because of the server, another user or the network. A wrong argument is a TypeError. */
export class RollcallError extends Error {
  static {
    Object.defineProperty(this.prototype, "name", { value: "RollcallError", configurable: true, writable: true });
  }
  /** What failed. */
  readonly kind: ErrorKind;
  /** The code: one of `Code`, the application's own, or one of a later version. */
  readonly code: number;
  /** The text that came with the code, for people. It may be empty. */
  readonly text: string;
  /** Whether a client may connect again after this code. */
  readonly mayReconnect: boolean;
  /** The values that came with the code; empty if there were none. */
  readonly info: ReadonlyMap<string, string>;

  /**
   * Throw one in a handler to answer a request with that code: 3000 to 65535; for a lower code, which is for connections, the
   * answer is HandlerFailed.
   */
  constructor(code: number, text = "", details: ErrorDetails = {}) {
    const name = codeName(code);
    super(`${code}${name && ` ${name}`}${text && `: ${text}`}`, details.cause === undefined ? undefined : { cause: details.cause });
    this.kind = details.kind ?? "refused";
    this.code = code;
    this.text = text;
    this.mayReconnect = mayReconnect(code);
    this.info = details.info ?? none;
  }
}

/** networkError is the reason of a connection that ended without a Close, or could not be made. */
export function networkError(text: string, cause?: unknown): RollcallError {
  return new RollcallError(Code.NetworkError, text, { kind: "connection", cause });
}

/** invalidMessage is the reason of a connection whose server broke the protocol. */
export function invalidMessage(text: string): RollcallError {
  return new RollcallError(Code.InvalidMessage, text, { kind: "connection" });
}

/** messageOf returns the text of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
