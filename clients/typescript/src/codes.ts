/** The codes of a Close and of an error reply, by name. Other numbers may come: those of the application, and of later versions. */
export const Code = {
  ClientClosed: 1000,
  NetworkError: 1001,
  HeartbeatTimeout: 1002,
  SlowConsumer: 1003,
  ServerStopping: 1004,
  LogonTimeout: 1005,
  TooManyConnections: 1006,
  RateLimited: 1007,
  InternalError: 1008,
  NodeLost: 1009,
  TokenExpired: 1010,
  PushedOut: 2000,
  AlreadyLoggedOn: 2001,
  KickedOut: 2002,
  Unauthorized: 2003,
  InvalidMessage: 2004,
  WrongUserID: 2005,
  MessageTooLarge: 2006,
  DeviceNotAllowed: 2007,
  SessionExpired: 2008,
  UserOffline: 5000,
  NoHandler: 5001,
  HandlerFailed: 5002,
  Refused: 5003,
  TimedOut: 5004,
} as const;

const names = new Map<number, string>(Object.entries(Code).map(([name, code]) => [code, name]));

/** codeName returns the name of a code, or "" for one that this version does not know. */
export function codeName(code: number): string {
  return names.get(code) ?? "";
}

/**
 * mayReconnect reports whether a client whose connection ended with the code may connect again by itself. The class decides, so it
 * answers for unknown codes too: 1000 to 1999 and 3000 to 3999 may, all others may not.
 */
export function mayReconnect(code: number): boolean {
  const kind = Math.floor(code / 1000);
  return kind === 1 || kind === 3;
}
