// The testee of the client for browsers: the half that runs in a page. browserhost.ts is the other one.

import { RollcallError, connect } from "@rollcall/client/browser";
import { Testee } from "./testee.js";

declare global {
  /** tell brings the other half the name of the frame, a space, and an event as JSON. */
  function tell(event: string): void;
  var testee: Testee;
}

/** printed returns what a console would show of a value: its properties, of its prototypes too, and theirs. */
function printed(value: unknown, seen = new Set<unknown>()): string {
  if (typeof value !== "object" || value === null || seen.has(value)) {
    return String(value);
  }
  seen.add(value);
  const texts = [String(value)];
  for (let of: object | null = value; of !== null && of !== Object.prototype; of = Object.getPrototypeOf(of) as object | null) {
    for (const name of Reflect.ownKeys(of)) {
      try {
        texts.push(`${String(name)}: ${printed((value as Record<PropertyKey, unknown>)[name], seen)}`);
      } catch (e) {
        texts.push(String(e)); // a getter that is not for this object
      }
    }
  }
  return value instanceof Map ? `${texts.join("\n")}\n${printed([...value], seen)}` : texts.join("\n");
}

const told = (event: object): void => tell(`${window.name} ${JSON.stringify(event)}`);

globalThis.testee = new Testee({
  connect,
  readCA: () => {
    throw new TypeError("a browser has certificates of its own");
  },
  tell: told,
  isRollcallError: (e): e is RollcallError => e instanceof RollcallError,
  show: (values) => values.flatMap((v) => [printed(v), JSON.stringify(v)]).join("\n"),
});
told({ event: "ready", language: "typescript in a browser", transports: ["ws"] });
