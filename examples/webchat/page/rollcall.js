// A small client for Rollcall in a browser: docs/protocol.md says what the bytes mean.

const LOGON = 0xff01, CLOSE = 0xff02, HEARTBEAT = 0xff00;
const REPLY = 1, ERROR = 2;
const utf8 = new TextEncoder(), text = new TextDecoder();

// frame returns the bytes of a message.
function frame({ type, flags = 0, id = 0, user = "", body = new Uint8Array() }) {
  const name = utf8.encode(user);
  const b = new Uint8Array(16 + name.length + body.length);
  const v = new DataView(b.buffer);
  v.setUint8(0, 0x52);
  v.setUint8(1, 0x10 | flags);
  v.setUint16(2, type);
  v.setUint32(4, name.length + body.length);
  v.setUint32(8, id);
  v.setUint8(12, name.length);
  b.set(name, 16);
  b.set(body, 16 + name.length);
  return b;
}

// frames yields the messages in one message of the WebSocket, which has whole ones.
function* frames(buffer) {
  for (let at = 0; at < buffer.byteLength; ) {
    const v = new DataView(buffer, at);
    const length = v.getUint32(4), user = v.getUint8(12), dest = v.getUint8(13);
    const part = (from, size) => new Uint8Array(buffer, at + from, size);
    yield {
      type: v.getUint16(2), flags: v.getUint8(1) & 15, id: v.getUint32(8),
      user: text.decode(part(16, user)), body: part(16 + user + dest, length - user - dest),
    };
    at += 16 + length;
  }
}

// stringMap returns the bytes of named values.
function stringMap(values) {
  const pairs = Object.entries(values).map(([k, v]) => [utf8.encode(k), utf8.encode(v)]);
  const b = new Uint8Array(1 + pairs.reduce((n, [k, v]) => n + 3 + k.length + v.length, 0));
  const view = new DataView(b.buffer);
  let at = 1;
  b[0] = pairs.length;
  for (const [k, v] of pairs) {
    view.setUint8(at, k.length);
    b.set(k, at + 1);
    view.setUint16(at + 1 + k.length, v.length);
    b.set(v, at + 3 + k.length);
    at += 3 + k.length + v.length;
  }
  return b;
}

// values reads named values.
function values(b) {
  const out = {};
  const v = new DataView(b.buffer, b.byteOffset, b.byteLength);
  for (let at = 1, n = b.length ? b[0] : 0; n > 0; n--) {
    const key = v.getUint8(at), size = v.getUint16(at + 1 + key);
    out[text.decode(b.subarray(at + 1, at + 1 + key))] = text.decode(b.subarray(at + 3 + key, at + 3 + key + size));
    at += 3 + key + size;
  }
  return out;
}

// reason reads the body of a Close or of an error.
function reason(b) {
  const v = new DataView(b.buffer, b.byteOffset, b.byteLength);
  const size = v.getUint16(2);
  return { code: v.getUint16(0), text: text.decode(b.subarray(4, 4 + size)), ...values(b.subarray(4 + size)) };
}

// mayReconnect says whether a client may come back by itself.
const mayReconnect = (code) => (code >= 1000 && code < 2000) || (code >= 3000 && code < 4000);

// BEAT is how often, in milliseconds, a client says that it lives where the server does not say how often.
const BEAT = 10000;

// Rollcall is a client that comes back by itself, unless the server has said that it must not.
export class Rollcall {
  // on has functions: online(), message(type, value), offline({code, text, again}).
  constructor(url, user, on) {
    Object.assign(this, { url, user, on, waiting: new Map(), lastID: 0, tries: 0, session: undefined });
    // A tab that was frozen, or a phone that wakes up, comes back at once.
    for (const e of ["pageshow", "online"]) addEventListener(e, () => this.soon());
    document.addEventListener("resume", () => this.soon());
    // A browser may keep a page that was left, to show it again, and answer the server's pings for it. The client waits for that.
    addEventListener("pagehide", () => {
      this.lost();
      clearTimeout(this.timer);
    });
    this.connect();
  }

  connect() {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.end = undefined; // what the server has said about the end
    const ws = (this.ws = new WebSocket(this.url, "rollcall.v1"));
    ws.binaryType = "arraybuffer";
    ws.onopen = () => ws.send(frame({
      type: LOGON, id: ++this.lastID, user: this.user, body: stringMap(this.session ? { session: this.session } : {}),
    }));
    ws.onmessage = (e) => {
      this.asked = 0;
      for (const m of frames(e.data)) {
        try {
          this.take(m);
        } catch (err) {
          reportError(err); // the messages behind this one are not lost
        }
      }
    };
    ws.onclose = () => this.ended();
    this.every(BEAT);
  }

  // every has the client ask so often whether the server is there. If nothing came since the third question before, it is not. A page
  // that stood still has the answers when it runs again. Where one message may take longer than that to come, ask more often.
  every(ms) {
    clearInterval(this.beat);
    this.asked = 0; // since the last message
    this.beat = setInterval(() => {
      if (this.asked++ >= 3) return this.lost();
      if (this.ws.readyState === WebSocket.OPEN) this.ws.send(frame({ type: HEARTBEAT, id: ++this.lastID }));
    }, ms);
  }

  // soon connects at once, if the client waits to connect: then timer is set.
  soon() { if (this.timer !== undefined) this.connect(); }

  // lost gives up the connection, if there is one, and does not wait for the server.
  lost() {
    if (this.ws.readyState > WebSocket.OPEN) return;
    this.ws.onmessage = this.ws.onclose = null;
    this.ws.close();
    this.ended();
  }

  take(m) {
    if (m.type === CLOSE) {
      this.end = reason(m.body);
    } else if (m.type === LOGON && !(m.flags & ERROR)) {
      const said = values(m.body.subarray(2));
      this.session = said.session;
      this.began = Date.now();
      this.every(Number(said["heartbeat-ms"]) || BEAT);
      this.on.online();
    } else if (m.type === LOGON) {
      this.end = reason(m.body);
    } else if (m.flags & REPLY) {
      const w = this.waiting.get(m.id);
      this.waiting.delete(m.id);
      if (m.flags & ERROR) w?.reject(new Error(reason(m.body).text));
      else w?.resolve(m.body.length ? JSON.parse(text.decode(m.body)) : undefined);
    } else if (m.type < 0xff00) {
      this.on.message(m.type, JSON.parse(text.decode(m.body)));
    }
  }

  ended() {
    clearInterval(this.beat);
    for (const w of this.waiting.values()) w.reject(new Error("the connection has ended"));
    this.waiting.clear();
    const end = this.end || { code: 1001, text: "the connection was lost" };
    const again = mayReconnect(end.code);
    if (again) {
      if (Date.now() - this.began > 60000) this.tries = 0;
      this.began = undefined; // until a logon is accepted
      const wait = Number(end["retry-ms"] || 0) + Math.random() * Math.min(30000, 200 * 2 ** this.tries++);
      this.timer = setTimeout(() => this.connect(), wait);
    }
    this.on.offline({ ...end, again });
  }

  // request sends a value and returns a promise of the answer.
  request(type, value) {
    return new Promise((resolve, reject) => {
      if (this.ws.readyState !== WebSocket.OPEN) return reject(new Error("not connected"));
      const id = ++this.lastID;
      this.waiting.set(id, { resolve, reject });
      this.ws.send(frame({ type, id, body: utf8.encode(JSON.stringify(value)) }));
    });
  }
}
