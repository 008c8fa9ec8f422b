// A chat in a terminal:
//
//   node examples/terminal.js tcp://localhost:9000 alice
//
// It shows what comes. A line "bob hello" goes to bob, "/who bob carol" asks which of them are online, "/quit" leaves.

import { createInterface } from "node:readline";
import { Code, RollcallError, connect } from "@rollcall/client";

const TEXT = 1; // the message type of this program
const [url = "tcp://localhost:9000", user = process.env.USER ?? "guest"] = process.argv.slice(2);
const encoder = new TextEncoder();
const decoder = new TextDecoder();
const show = (line) => console.log(line.replace(/[\p{Cc}\p{Cf}]/gu, (c) => JSON.stringify(c).slice(1, -1))); // nothing moves the cursor

let client;
try {
  client = await connect(url, { user, token: () => process.env.TOKEN ?? "" });
} catch (e) {
  console.error(`cannot log on: ${e.message}`);
  process.exit(1);
}

client.on(TEXT, async (m) => {
  show(`${m.from || "the server"}: ${decoder.decode(m.body)}`);
  if (m.isRequest) {
    await m.reply(encoder.encode("seen"));
  }
});
client.onPush((p) => show(`* ${decoder.decode(p.body)}`));

const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => void run(line.trim()).catch((e) => show(`! ${explain(e)}`)));
lines.on("close", () => client.close());

for await (const s of client.states()) {
  if (s.state === "online") {
    show(`* online as ${s.user}`);
  } else {
    show(`* ${s.state}: ${s.error.message}`);
  }
}
lines.close();

async function run(line) {
  const [first = "", ...rest] = line.split(" ");
  if (first === "/quit") {
    await client.close();
  } else if (first === "/who") {
    show(`* online: ${(await client.whoIsOnline(rest)).join(", ") || "none of them"}`);
  } else if (rest.length > 0) {
    const answer = await client.request(TEXT, encoder.encode(rest.join(" ")), { to: first, timeout: 5_000 });
    show(`* ${answer.from}: ${decoder.decode(answer.body)}`);
  } else if (first !== "") {
    show("! write a name and a text");
  }
}

function explain(e) {
  if (e instanceof RollcallError && e.code === Code.UserOffline) {
    return "that user is offline";
  }
  return e.message;
}
