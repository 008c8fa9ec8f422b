import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer as createWebServer } from "node:http";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { createServer as createTLSServer } from "node:tls";
import { connect, type Client, type RollcallError } from "@rollcall/client/node";
import { encodeClose } from "../dist/bodies.js";
import { CLOSE } from "../dist/frame.js";
import { TestServer } from "./server.js";
import { frameBytes, hex, text, utf8 } from "./support.js";
import { webAnswer, webHeader } from "./webserver.js";

const noOpenSSL = spawnSync("openssl", ["version"]).error !== undefined && process.env["CI"] !== "true" ? "there is no openssl" : false;

async function started(t: TestContext, s: TestServer): Promise<string> {
  t.after(() => s.stop());
  return s.start();
}

/** certificate makes a certificate that is its own authority. */
function certificate(t: TestContext, name: string): { key: string; cert: string } {
  const dir = mkdtempSync(join(tmpdir(), "rollcall-cert-"));
  t.after(() => rmSync(dir, { recursive: true }));
  const [key, cert] = [join(dir, "key.pem"), join(dir, "cert.pem")];
  execFileSync("openssl", [
    "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=test",
    "-addext", `subjectAltName=${name}`,
  ], { stdio: "pipe" });
  return { key: readFileSync(key, "utf8"), cert: readFileSync(cert, "utf8") };
}

/** talks tries a client, and closes it. */
async function talks(client: Client): Promise<void> {
  for (const size of [0, 1, 125, 126, 65_535, 65_536, 1 << 20]) {
    const body = new Uint8Array(size).map((_, i) => i);
    const answer = await client.request(1, body, { timeout: 60_000 });
    assert.ok(!(answer.body instanceof Buffer));
    assert.equal(Buffer.compare(answer.body, body), 0, `a body of ${size} bytes`);
  }
  let got = 0;
  const all = new Promise<void>((resolve) => client.on(2, () => void (++got === 500 && resolve())));
  for (let n = 0; n < 500; n++) {
    await client.send(2, new Uint8Array(16 << 10));
  }
  await all;
  await client.close();
}

test("over TCP", async (t) => {
  await talks(await connect(`tcp://${await started(t, new TestServer())}`, { user: "alice" }));
});

test("over WebSocket", async (t) => {
  const s = TestServer.web();
  await talks(await connect(`ws://${await started(t, s)}/rc`, { user: "alice" }));
  assert.deepEqual(s.streams[0]?.controls, [[8, Buffer.of(1000 >> 8, 1000 & 255)]]);
});

test("over TLS, with its own authority and the name that the certificate has", { skip: noOpenSSL }, async (t) => {
  const s = new TestServer(createTLSServer(certificate(t, "IP:127.0.0.1")));
  const at = await started(t, s);
  const { cert } = certificate(t, "IP:127.0.0.1");
  const right = certificate(t, "IP:127.0.0.1");
  const trusted = new TestServer(createTLSServer(right));
  await talks(await connect(`tls://${await started(t, trusted)}`, { user: "alice", ca: right.cert }));
  await assert.rejects(connect(`tls://${at}`, { user: "alice", ca: [utf8(cert)] }), { code: 1001, mayReconnect: true });
  await assert.rejects(connect(`wss://${at}`, { user: "alice", ca: cert }), { code: 1001 });
  assert.equal(s.logons, 0);
});

test("a certificate for another name, or of an unknown authority, is refused, whatever the environment says", { skip: noOpenSSL }, async (t) => {
  const wrong = certificate(t, "DNS:elsewhere.example");
  const s = new TestServer(createTLSServer(wrong));
  const at = await started(t, s);
  process.env["NODE_TLS_REJECT_UNAUTHORIZED"] = "0";
  t.after(() => delete process.env["NODE_TLS_REJECT_UNAUTHORIZED"]);
  await assert.rejects(connect(`tls://${at}`, { user: "alice", ca: wrong.cert }), /altnames|does not match/);
  await assert.rejects(connect(`tls://${at}`, { user: "alice" }), /self-signed/);
  assert.equal(s.logons, 0);
});

test("what is no server is a NetworkError, and a signal ends an attempt", async (t) => {
  const closed = createServer().listen(0, "127.0.0.1");
  await once(closed, "listening");
  const { port } = closed.address() as { port: number };
  closed.close();
  await assert.rejects(connect(`tcp://127.0.0.1:${port}`, { user: "alice" }), (e: RollcallError) => e.code === 1001 && /ECONNREFUSED/.test(e.text));

  const silent = createServer((s) => s.on("error", () => {})).listen(0, "127.0.0.1");
  t.after(() => silent.close());
  await once(silent, "listening");
  for (const scheme of ["tcp", "tls", "ws", "wss"]) {
    const stop = new AbortController();
    const attempt = connect(`${scheme}://127.0.0.1:${(silent.address() as { port: number }).port}`, { user: "alice", signal: stop.signal });
    const [socket] = (await once(silent, "connection")) as [import("node:net").Socket];
    socket.resume();
    stop.abort(new Error("enough"));
    await assert.rejects(attempt, /enough/);
    if (!socket.destroyed) {
      await once(socket, "close");
    }
  }
});

test("how an HTTP server refuses decides about reconnecting", async (t) => {
  let answer = "";
  const s = createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", () => socket.end(answer));
  }).listen(0, "127.0.0.1");
  t.after(() => s.close());
  await once(s, "listening");
  for (const [head, code, retry] of [
    ["HTTP/1.1 503 Full\r\nretry-after: 7", 1006, "7000"], ["HTTP/1.1 429 Slowly", 1006, undefined], ["HTTP/1.1 401 No", 2003, undefined],
    ["HTTP/1.1 403 No", 2003, undefined], ["HTTP/1.1 404 No", 2004, undefined], ["HTTP/1.1 408 Late", 1001, undefined],
    ["HTTP/1.1 502 Bad", 1001, undefined], ["HTTP/1.1 200 OK", 1001, undefined], ["SSH-2.0-x", 2004, undefined],
    ["HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x", 2004, undefined], ["x".repeat(20_000), 2004, undefined],
  ] as const) {
    answer = `${head}\r\n\r\n`;
    const attempt = connect(`ws://127.0.0.1:${(s.address() as { port: number }).port}/`, { user: "alice" });
    await assert.rejects(attempt, (e: RollcallError) => e.code === code && e.info.get("retry-ms") === retry, head);
  }
});

test("pings of WebSocket are answered, and its Close tells why", async (t) => {
  const s = TestServer.web();
  const client = await connect(`ws://${await started(t, s)}/`, { user: "alice", reconnect: false });
  const [stream] = s.streams;
  assert.ok(stream);
  stream.raw(Buffer.of(0x89, 3, 1, 2, 3));
  if (stream.controls.length === 0) {
    await once(stream, "control");
  }
  assert.deepEqual(stream.controls.map(([opcode, payload]) => [opcode, hex(payload)]), [[10, "010203"]]);
  const reason = utf8("2002 KickedOut: enough");
  stream.raw(Buffer.concat([Buffer.of(0x88, 2 + reason.length, 1008 >> 8, 1008 & 255), reason]));
  let last: unknown;
  for await (const state of client.states()) {
    last = state.state === "closed" ? [state.error.code, state.error.text] : state.state;
  }
  assert.deepEqual(last, [2002, "enough"]);
});

test("bytes right behind the answer that begins a WebSocket are read in their order", async (t) => {
  const web = createWebServer().listen(0, "127.0.0.1");
  t.after(() => web.close());
  await once(web, "listening");
  const close = frameBytes({ type: CLOSE, body: encodeClose(2002, "out".repeat(20_000)) });
  web.on("upgrade", (request, socket) => {
    socket.on("error", () => {});
    const pongs = Buffer.alloc(2 * 50_000, Buffer.of(0x8a, 0));
    socket.write(Buffer.concat([Buffer.from(webAnswer(request)), webHeader(0x02, 20), close.subarray(0, 20), pongs, webHeader(0x80, close.length - 20), close.subarray(20)]));
  });
  const attempt = connect(`ws://127.0.0.1:${(web.address() as { port: number }).port}/`, { user: "alice" });
  await assert.rejects(attempt, (e: RollcallError) => e.code === 2002 && e.text.length === 60_000);
});

test("a name and a text beyond ASCII arrive", async (t) => {
  const at = await started(t, new TestServer());
  const [a, b] = await Promise.all(["Zoë", "王"].map((user) => connect(`tcp://${at}`, { user })));
  assert.ok(a && b);
  b.on(1, (m) => m.reply(utf8(`${m.from}: ${text(m.body)}`)));
  assert.equal(text((await a.request(1, utf8("grüß dich"), { to: "王" })).body), "Zoë: grüß dich");
  assert.deepEqual(await a.whoIsOnline(["nobody", "王"]), ["王"]);
  await Promise.all([a.close(), b.close()]);
});
