import { encodeMap, type StringMap } from "./bodies.js";
import { checkOwnID } from "./text.js";

/** Options are the settings of a client, which all may be left out. Times are in milliseconds, sizes in bytes. */
export interface Options {
  /** The user to log on. Without one, or with an empty text, the server finds the user by the token. */
  user?: string;
  /** The device class, 0 to 65535; the default 0 is unspecified. */
  device?: number;
  /**
   * Returns the token for the server. It is called before each logon, to reconnect too, and before a session that expires is renewed. An
   * empty text is no token. If it throws the attempt fails, and the client tries again later, unless it throws a RollcallError with a code
   * after which a client does not reconnect. The signal is aborted when the attempt has ended.
   */
  token?: (signal: AbortSignal) => string | Promise<string>;
  /** Named values that go with each logon, for the application. The names `token` and `session` are the client's own. */
  fields?: Iterable<readonly [string, string]> | Readonly<Record<string, string>>;
  /** Ends the attempt to connect. It has no effect when connect has succeeded: use Client.close. */
  signal?: AbortSignal;
  /** How the client comes back when the connection is lost; false is not at all. */
  reconnect?: ReconnectOptions | false;
  /** How long one attempt may take: the token, connecting, TLS and the logon. The default is 15,000. */
  connectTimeout?: number;
  /** How long the server may take to end its side when the client closes. The default is 3,000. */
  closeTimeout?: number;
  /**
   * The largest body, both ways. Without it the server's limit counts, which is 1 MiB if the server names none. The client sends none over the
   * server's limit, and accepts those up to it in any case. A larger message from the server ends the client with MessageTooLarge.
   */
  maxBody?: number;
  /**
   * How many bytes of messages may wait for handlers; the default is 4 MiB. Above it the client stops reading. While a request waits for its
   * reply, and in a browser always, it reads on up to four times as much; beyond that it ends the connection, and reconnects.
   */
  maxInbound?: number;
  /**
   * Gets what a handler of a message or a push has thrown. Without it such errors are seen by the one alone who asked, as an error reply,
   * because the client logs nothing. What this function throws is ignored.
   */
  onHandlerError?: (error: unknown) => void;
}

/** ReconnectOptions say how long a client waits before it reconnects, in milliseconds. */
export interface ReconnectOptions {
  /**
   * min and max bound the wait before attempt n, counted from 0: it is evenly distributed between 0 and the lesser of max and min·2ⁿ (n is 8
   * at most), behind the time that the server asks for. The defaults are 200 and 30,000.
   */
  min?: number;
  max?: number;
  /** How long a connection must last so that n begins at 0 again. The default is 60,000. */
  stable?: number;
}

/** Settings are checked options with their defaults. */
export interface Settings {
  readonly user: string;
  readonly device: number;
  readonly token: ((signal: AbortSignal) => string | Promise<string>) | undefined;
  readonly fields: StringMap;
  readonly reconnect: Required<ReconnectOptions> | undefined;
  readonly connectTimeout: number;
  readonly closeTimeout: number;
  readonly maxBody: number | undefined;
  readonly maxInbound: number;
  readonly onHandlerError: ((error: unknown) => void) | undefined;
}

/** settingsOf checks options, and throws a TypeError for one that makes no sense. */
export function settingsOf(o: Options): Settings {
  if (o.user !== undefined && o.user !== "") {
    checkOwnID(o.user);
  }
  if (!Number.isInteger(o.device ?? 0) || (o.device ?? 0) < 0 || (o.device ?? 0) > 0xffff) {
    throw new TypeError("the option device is not within 0 to 65535");
  }
  for (const name of ["token", "onHandlerError"] as const) {
    if (o[name] !== undefined && typeof o[name] !== "function") {
      throw new TypeError(`the option ${name} is not a function`);
    }
  }
  return {
    user: o.user ?? "",
    device: o.device ?? 0,
    token: o.token,
    fields: fieldsOf(o.fields ?? []),
    reconnect: o.reconnect === false ? undefined : {
      min: atLeast(0, "reconnect.min", o.reconnect?.min, 200),
      max: atLeast(0, "reconnect.max", o.reconnect?.max, 30_000),
      stable: atLeast(0, "reconnect.stable", o.reconnect?.stable, 60_000),
    },
    connectTimeout: atLeast(1, "connectTimeout", o.connectTimeout, 15_000),
    closeTimeout: atLeast(0, "closeTimeout", o.closeTimeout, 3_000),
    maxBody: o.maxBody === undefined ? undefined : atLeast(1, "maxBody", o.maxBody, 0),
    maxInbound: atLeast(1, "maxInbound", o.maxInbound, 4 << 20),
    onHandlerError: o.onHandlerError,
  };
}

function atLeast(least: number, name: string, value: number | undefined, standard: number): number {
  const n = value ?? standard;
  if (typeof n !== "number" || !(n >= least)) {
    throw new TypeError(`the option ${name} is not a number from ${least} on`);
  }
  return n;
}

function fieldsOf(given: NonNullable<Options["fields"]>): StringMap {
  const fields = new Map(Symbol.iterator in given ? (given as Iterable<readonly [string, string]>) : Object.entries(given));
  if (fields.has("token") || fields.has("session")) {
    throw new TypeError("the option fields has token or session: tokens come from the option token, sessions are the client's own");
  }
  encodeMap(fields);
  return fields;
}
