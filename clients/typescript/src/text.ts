// UTF-8 and user IDs. A TextEncoder would replace what is not Unicode, and a TextDecoder drop a byte order mark: both are asked not to.

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** encodeText returns the UTF-8 of s, and throws a TypeError if s has half of a surrogate pair. */
export function encodeText(s: string, what: string): Uint8Array {
  if (/\p{Surrogate}/u.test(s)) {
    throw new TypeError(`${what} is not valid Unicode: it has half of a surrogate pair`);
  }
  return encoder.encode(s);
}

/** decodeText returns the text whose UTF-8 is b, or undefined if b is no UTF-8. */
export function decodeText(b: Uint8Array): string | undefined {
  try {
    return decoder.decode(b);
  } catch {
    return undefined;
  }
}

/** decodeID returns the user ID that b[from:to] is, or undefined if it is none. An empty one is valid. */
export function decodeID(b: Uint8Array, from: number, to: number): string | undefined {
  let s = "";
  for (let i = from; i < to; i++) {
    const c = b[i] as number;
    if (c < 0x20 || c > 0x7e) {
      const text = decodeText(b.subarray(from, to));
      return text !== undefined && /\p{Cc}/u.test(text) ? undefined : text;
    }
    s += String.fromCharCode(c);
  }
  return s;
}

/** encodeID returns the UTF-8 of a user ID, and throws a TypeError that begins with what if it is none. An empty one is valid. */
export function encodeID(id: string, what: string): Uint8Array {
  if (typeof id !== "string") {
    throw new TypeError(`${what} is not a string`);
  }
  if (/\p{Cc}/u.test(id)) {
    throw new TypeError(`${what} has a control character`);
  }
  const b = encodeText(id, what);
  if (b.length > 255) {
    throw new TypeError(`${what} has ${b.length} bytes, more than 255`);
  }
  return b;
}

/** checkOwnID throws a TypeError if no user may log on with this ID. */
export function checkOwnID(id: string): void {
  encodeID(id, "the user ID");
  if (id.startsWith("_")) {
    throw new TypeError("the user ID is reserved: it begins with _");
  }
}
