// What browser.test.ts has in its page: a client, what it has told, and ways to use it.

import { connect, type Client, type Options } from "@rollcall/client/browser";

declare global {
  function tell(text: string): void;
  var client: Client;
  var log: string[];
  /** begin connects, and logs what comes. */
  var begin: (url: string, options?: Options) => Promise<void>;
  /** ask sends the server a text, and returns the answer. */
  var ask: (text: string) => Promise<string>;
  /** hide makes the page look hidden, or visible again. */
  var hide: (hidden: boolean) => void;
}

const decoder = new TextDecoder();
globalThis.log = [];
globalThis.begin = async (url, options = {}) => {
  globalThis.client = await connect(url, { user: "alice", ...options });
  client.onPush((p) => void log.push(`push ${decoder.decode(p.body)}`));
  void (async () => {
    for await (const s of client.states()) {
      log.push(s.state === "online" ? "online" : `${s.state} ${s.error.code}`);
    }
  })();
};
globalThis.ask = async (text) => decoder.decode((await client.request(1, new TextEncoder().encode(text))).body);
globalThis.hide = (hidden) => {
  Object.defineProperty(document, "visibilityState", { value: hidden ? "hidden" : "visible", configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
};
tell("ready");
