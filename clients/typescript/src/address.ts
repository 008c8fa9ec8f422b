/** Address is where a client connects to. */
export interface Address {
  readonly scheme: "tcp" | "tls" | "ws" | "wss";
  /** A name, or an IP address, that of IPv6 without brackets. */
  readonly host: string;
  readonly port: number;
  /** The path and the query of a WebSocket; empty for the other schemes. */
  readonly path: string;
}

const schemes = new Map<string, { port?: number }>([["tcp", {}], ["tls", {}], ["ws", { port: 80 }], ["wss", { port: 443 }]]);

/** parseAddress reads the URL that a client was given, and throws a TypeError if it is none to connect to. */
export function parseAddress(url: string): Address {
  const [, scheme = "", rest = ""] = /^([a-z]+):\/\/(.*)$/is.exec(url) ?? [];
  const known = schemes.get(scheme.toLowerCase());
  if (known === undefined) {
    throw new TypeError("the address does not begin with tcp://, tls://, ws:// or wss://");
  }
  let u: URL;
  try {
    u = new URL(`http://${rest}`); // its rules for host and port are the same for each scheme
  } catch {
    throw new TypeError(`the address ${shown(url)} is malformed`);
  }
  if (u.username !== "" || u.password !== "") {
    throw new TypeError("the address has a user or a password, which are not sent: the options user and token are for that");
  }
  if (rest.includes("#")) {
    throw new TypeError("the address has a fragment, behind #, which is not sent");
  }
  const port = /:(\d+)$/.exec(/^[^/?]*/.exec(rest)?.[0] ?? "")?.[1] ?? known.port;
  if (port === undefined || Number(port) === 0) {
    throw new TypeError(`the address ${shown(url)} has no port`);
  }
  const web = known.port !== undefined;
  if (!web && (u.pathname !== "/" || u.search !== "")) {
    throw new TypeError("tcp:// and tls:// are followed by a host and a port alone");
  }
  return {
    scheme: scheme.toLowerCase() as Address["scheme"],
    host: u.hostname.replace(/^\[(.*)\]$/, "$1"),
    port: Number(port),
    path: web ? u.pathname + u.search : "",
  };
}

/** moveTo returns the address that has another host and port, as a server names them, "host:port", or undefined if that is no such text. */
export function moveTo(from: Address, named: string): Address | undefined {
  if (!/^(\[[0-9a-f:.]+\]|[^\s:/?#@[\]\\]+):[0-9]+$/i.test(named)) {
    return undefined;
  }
  try {
    const { host, port } = parseAddress(`tcp://${named}`);
    return { ...from, host, port };
  } catch {
    return undefined;
  }
}

/** urlOf returns the address as a URL. */
export function urlOf({ scheme, host, port, path }: Address): string {
  return `${scheme}://${host.includes(":") ? `[${host}]` : host}:${port}${path}`;
}

/** shown returns a URL for the text of an error: without its query, and without a user and password, which may be secret. */
function shown(url: string): string {
  return (/^[^?#]*/.exec(url)?.[0] ?? "").replace(/\/\/.*@/, "//");
}
