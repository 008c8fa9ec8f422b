// The testee of the client for Node.

import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { inspect } from "node:util";
import { RollcallError, connect } from "@rollcall/client/node";
import { Testee } from "./testee.js";

const tell = (event: object): void => {
  process.stdout.write(`${JSON.stringify(event)}\n`);
};

const testee = new Testee({
  connect,
  readCA: (file) => readFileSync(file, "utf8"),
  tell,
  isRollcallError: (e): e is RollcallError => e instanceof RollcallError,
  show: (values) =>
    values
      .flatMap((v) => [String(v), JSON.stringify(v), inspect(v), inspect(v, { showHidden: true, depth: Infinity, getters: true }), (v as Error | undefined)?.stack])
      .join("\n"),
});

tell({ event: "ready", language: "typescript", transports: process.argv.length > 2 ? process.argv.slice(2) : ["tcp", "tls", "ws", "wss"] });
const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => testee.run(line));
lines.on("close", () => void testee.close());
