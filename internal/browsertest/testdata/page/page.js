// What tests do in a page: client is the client of examples/webchat, and raw is a WebSocket of which every byte is kept.
import { Rollcall } from "./rollcall.js";

const hex = (b) => Array.from(new Uint8Array(b), (n) => n.toString(16).padStart(2, "0")).join("");

// enter logs a user on. happened has what the client has told since, in order.
window.enter = (url, user) => {
  window.happened = [];
  window.client = new Rollcall(url, user, {
    online: () => happened.push("online"),
    message: (type, value) => happened.push(`message ${type} ${JSON.stringify(value)}`),
    offline: ({ code, text, again }) => happened.push(`offline ${code} ${text} ${again}`),
  });
};

// connect opens a WebSocket. events has what the browser has told since, in order: of a message a text or the bytes in hex.
window.connect = (url, ...protocols) => {
  window.events = [];
  window.raw = new WebSocket(url, protocols);
  raw.binaryType = "arraybuffer";
  raw.onopen = () => events.push({ what: "open", text: raw.protocol, extensions: raw.extensions });
  raw.onmessage = (e) => events.push(typeof e.data === "string" ? { what: "text", text: e.data } : { what: "message", text: hex(e.data) });
  raw.onclose = (e) => events.push({ what: "close", code: e.code, text: e.reason, clean: e.wasClean });
};

// exchange sends the bytes at an address in messages of these sizes. received has what comes: the sizes of the messages, and pass, which
// posts them to an address.
window.exchange = async (from, sizes) => {
  const parts = [];
  window.received = { sizes: [], pass: (to) => fetch(to, { method: "POST", body: new Blob(parts) }) };
  raw.onmessage = (e) => {
    parts.push(e.data);
    received.sizes.push(e.data.byteLength);
  };
  const bytes = new Uint8Array(await (await fetch(from)).arrayBuffer());
  let at = 0;
  for (const n of sizes) raw.send(bytes.subarray(at, (at += n)));
};

window.ready = true;
