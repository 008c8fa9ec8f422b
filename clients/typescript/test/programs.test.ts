// Programs that have the client as its users do: the README's example, and the chat in a terminal.

import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { test, type TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { encodeMap } from "../dist/bodies.js";
import { PUSH } from "../dist/frame.js";
import { TestServer } from "./server.js";
import { utf8 } from "./support.js";

const root = new URL("..", import.meta.url);
const PATIENCE = 30_000;

/** Program is a running one, and what it has printed. */
class Program {
  readonly process: ChildProcess;
  output = "";
  #changed = () => {};

  constructor(t: TestContext, ...args: string[]) {
    this.process = spawn(process.execPath, args, { cwd: fileURLToPath(root), stdio: ["pipe", "pipe", "inherit"] });
    t.after(() => this.process.kill("SIGKILL"));
    this.process.stdout?.setEncoding("utf8").on("data", (s: string) => {
      this.output += s;
      this.#changed();
    });
  }

  type(line: string): void {
    this.process.stdin?.write(`${line}\n`);
  }

  /** sees waits until the program has printed a text. */
  async sees(what: string): Promise<void> {
    const timeout = AbortSignal.timeout(PATIENCE);
    while (!this.output.includes(what)) {
      await new Promise<void>((resolve, reject) => {
        this.#changed = resolve;
        timeout.onabort = () => reject(new Error(`no ${JSON.stringify(what)} in\n${this.output}`));
      });
    }
  }

  /** ends waits until the program ends by itself, which it does when nothing of its client is left. */
  async ends(): Promise<void> {
    if (this.process.exitCode === null) {
      await once(this.process, "exit", { signal: AbortSignal.timeout(PATIENCE) });
    }
    assert.equal(this.process.exitCode, 0);
  }
}

async function server(t: TestContext): Promise<{ s: TestServer; at: string }> {
  const s = new TestServer();
  t.after(() => s.stop());
  return { s, at: await s.start() };
}

test("the README's example prints what the README says", async (t) => {
  const { s, at } = await server(t);
  const readme = readFileSync(new URL("README.md", root), "utf8");
  const [, code = ""] = /```js\n(.*?)```/s.exec(readme) ?? [];
  const [, prints = ""] = /It prints\n\n(.*?)\n\n(?! {4})/s.exec(readme) ?? [];
  assert.ok(code.includes("localhost:9000") && prints !== "");
  s.loggedOn = (user) => {
    if (user === "alice") {
      const push = Uint8Array.of(...Array<number>(15).fill(0), 7, 1, 1, ...Array<number>(8).fill(0), 0, ...encodeMap(new Map()), ...utf8("welcome"));
      s.send("alice", { type: PUSH, body: push });
      s.send("alice", { type: 1, id: 9, user: "bob", body: utf8("are you there?") });
    }
  };
  const file = new URL("build/readme.example.js", root); // in the package, whose name it imports
  writeFileSync(file, code.replace("localhost:9000", at));
  t.after(() => rmSync(file));
  const p = new Program(t, fileURLToPath(file));
  await p.ends();
  assert.equal(p.output, `${prints.replace(/^ {4}/gm, "")}\n`);
});

test("two people chat in terminals", async (t) => {
  const { s, at } = await server(t);
  const [alice, bob] = ["alice", "bob"].map((user) => new Program(t, "examples/terminal.js", `tcp://${at}`, user)) as [Program, Program];
  await alice.sees("* online as alice");
  await bob.sees("* online as bob");
  alice.type("bob hello, \u0007 bob");
  await bob.sees("alice: hello, \\u0007 bob");
  await alice.sees("* bob: seen");
  alice.type("/who carol bob");
  await alice.sees("* online: bob\n");
  alice.type("carol hi");
  await alice.sees("! that user is offline");
  alice.type("alone");
  await alice.sees("! write a name");
  s.close("alice", 1004);
  await alice.sees("* reconnecting: 1004 ServerStopping");
  s.close("bob", 2002);
  await bob.sees("* closed: 2002 KickedOut");
  await bob.ends();
  alice.type("/quit");
  await alice.ends();
  assert.match(alice.output, /\* closed: 1000 ClientClosed\n$/);
});

test("the example is under 100 lines", () => {
  assert.ok(readFileSync(new URL("examples/terminal.js", root), "utf8").split("\n").length < 100);
});

