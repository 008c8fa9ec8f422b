import { Code, codeName } from "./codes.js";
import { RollcallError, networkError } from "./errors.js";

// What a Close of WebSocket means that no Close of Rollcall's has come before: one of a proxy, or of a server whose own was lost.

const codes = new Map<number, number>([
  [1001, Code.ServerStopping],
  [1012, Code.ServerStopping],
  [1002, Code.InvalidMessage],
  [1003, Code.InvalidMessage],
  [1007, Code.InvalidMessage],
  [1010, Code.InvalidMessage],
  [1008, Code.KickedOut],
  [1009, Code.MessageTooLarge],
  [1011, Code.InternalError],
  [1013, Code.TooManyConnections],
]);

/** meaningOf returns the reason for a connection that ended with this code and reason of WebSocket. */
export function meaningOf(code: number, reason: string): RollcallError {
  // A Rollcall server writes its own code there, "2002 KickedOut: text".
  const [, number = "", name = "", text = ""] = /^([0-9]{4}) ([A-Za-z]+|code [0-9]+)(?:: (.*))?$/s.exec(reason) ?? [];
  const own = Number(number);
  if (own >= 1000 && own < 5000 && (name === (codeName(own) || `code ${own}`) || /^[A-Z][A-Za-z]*$/.test(name))) {
    return new RollcallError(own, text, { kind: "connection" });
  }
  const told = reason.replace(/\p{Cc}/gu, " ");
  const meant = codes.get(code) ?? (code >= 3000 && code <= 4999 ? code : undefined);
  if (meant !== undefined) {
    return new RollcallError(meant, told, { kind: "connection" });
  }
  return networkError(code === 1006 ? "the WebSocket ended without a Close" : `the WebSocket was closed with ${code}${told && ` ${told}`}`);
}
