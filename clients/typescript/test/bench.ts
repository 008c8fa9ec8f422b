// How many messages a second a client sends and gets on one core, with a server in a process of its own that sends each one back. The figures
// are for each second that this process had a processor, so that a busy machine does not change them much.

import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { connect, type Client } from "@rollcall/client/node";
import { TestServer } from "./server.js";

const BODY = new Uint8Array(128);
const WINDOW = 1_000; // messages under way

/** messages sends n messages, and waits for all to come back. */
function messages(client: Client, n: number): Promise<void> {
  return new Promise((resolve) => {
    let sent = 0;
    let got = 0;
    const send = () => {
      while (sent < n && sent - got < WINDOW) {
        sent++;
        void client.send(1, BODY);
      }
    };
    client.on(1, () => {
      if (++got % 100 === 0) {
        send();
      }
      if (got === n) {
        resolve();
      }
    });
    send();
  });
}

/** requests asks n questions, so many at a time. */
async function requests(client: Client, n: number): Promise<void> {
  const ask = async () => {
    for (let i = 0; i < n / 100; i++) {
      await client.request(1, BODY);
    }
  };
  await Promise.all(Array.from({ length: 100 }, ask));
}

async function measure(what: string, client: Client, n: number, run: (client: Client, n: number) => Promise<void>): Promise<void> {
  await run(client, n / 4);
  const began = performance.now();
  const cpu = process.cpuUsage();
  await run(client, n);
  const { user, system } = process.cpuUsage(cpu);
  const perSecond = (seconds: number) => Math.round(n / seconds).toLocaleString("en");
  console.log(`${what}: ${perSecond((user + system) / 1e6)} a second of processor time, ${perSecond((performance.now() - began) / 1e3)} a second`);
}

if (process.send !== undefined) {
  process.send(await new TestServer().start());
} else {
  const server = fork(fileURLToPath(import.meta.url));
  const [at] = (await once(server, "message")) as [string];
  const client = await connect(`tcp://${at}`, { user: "alice" });
  await measure("messages of 128 bytes, each sent and come back", client, 400_000, messages);
  await measure("requests of 128 bytes, 100 at a time", client, 200_000, requests);
  await client.close();
  server.kill();
}
