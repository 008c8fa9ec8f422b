package io.github.rollcallgo.client;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.UUID;

/** The bodies of the system's messages, to and from bytes. A body that breaks the rules is an InvalidMessage. */
final class Bodies {
    static final int MAX_ID = 255;
    private static final int MAX_IDS = 1000;
    private static final int MAX_PAIRS = 255;
    private static final int MAX_TEXT = 0xFFFF;
    private static final int PUSH_HEAD = 16 + 1 + 1 + 8 + 1;

    private Bodies() {
    }

    /** Returns the UTF-8 of a user ID, or throws IllegalArgumentException. An empty one is no ID. */
    static byte[] userId(String id) {
        byte[] b = Utf8.encode(id);
        if (b == null) {
            throw new IllegalArgumentException("the user ID has half of a surrogate pair");
        }
        if (b.length == 0 || b.length > MAX_ID) {
            throw new IllegalArgumentException("the user ID has " + b.length + " bytes; it may have 1 to " + MAX_ID);
        }
        if (Utf8.hasControls(id)) {
            throw new IllegalArgumentException("the user ID has control characters");
        }
        return b;
    }

    /** Throws IllegalArgumentException if a map cannot be sent. Pairs are in the order of their keys' bytes. */
    static byte[] stringMap(Map<String, String> map) {
        if (map.size() > MAX_PAIRS) {
            throw new IllegalArgumentException(map.size() + " fields; " + MAX_PAIRS + " is the most");
        }
        TreeMap<byte[], byte[]> pairs = new TreeMap<>(Bodies::compare);
        for (Map.Entry<String, String> e : map.entrySet()) {
            byte[] key = Utf8.encode(e.getKey());
            byte[] value = Utf8.encode(e.getValue());
            if (key == null || key.length == 0 || key.length > 0xFF) {
                throw new IllegalArgumentException("a field's name is to have 1 to 255 bytes of UTF-8");
            }
            if (value == null || value.length > MAX_TEXT) {
                throw new IllegalArgumentException("the value of the field " + e.getKey() + " is to have at most 65535 bytes of UTF-8");
            }
            pairs.put(key, value);
        }
        ByteQueue out = new ByteQueue();
        out.put8(pairs.size());
        for (Map.Entry<byte[], byte[]> e : pairs.entrySet()) {
            out.put8(e.getKey().length);
            out.put(e.getKey());
            out.put16(e.getValue().length);
            out.put(e.getValue());
        }
        return out.toArray();
    }

    /** The order of unsigned bytes, which for UTF-8 is that of the code points. Java's strings have another beyond U+FFFF. */
    private static int compare(byte[] a, byte[] b) {
        for (int i = 0; i < Math.min(a.length, b.length); i++) {
            if (a[i] != b[i]) {
                return Frame.u8(a, i) - Frame.u8(b, i);
            }
        }
        return a.length - b.length;
    }

    /** A code, a text, which is cut to what fits, and a map if it is not empty. */
    static byte[] close(int code, String text, Map<String, String> info) {
        byte[] b = text.getBytes(StandardCharsets.UTF_8);
        if (b.length > MAX_TEXT) {
            int end = MAX_TEXT;
            while ((b[end] & 0xC0) == 0x80) {
                end--;
            }
            b = Arrays.copyOf(b, end);
        }
        ByteQueue out = new ByteQueue();
        out.put16(code);
        out.put16(b.length);
        out.put(b);
        if (!info.isEmpty()) {
            out.put(stringMap(info));
        }
        return out.toArray();
    }

    /** Throws IllegalArgumentException if the IDs cannot be asked for. */
    static byte[] idList(Collection<String> ids) {
        if (ids.size() > MAX_IDS) {
            throw new IllegalArgumentException(ids.size() + " user IDs; " + MAX_IDS + " is the most");
        }
        ByteQueue out = new ByteQueue();
        out.put16(ids.size());
        for (String id : ids) {
            byte[] b = userId(id);
            out.put8(b.length);
            out.put(b);
        }
        return out.toArray();
    }

    static byte[] pushAck(UUID id) {
        ByteQueue out = new ByteQueue();
        out.put64(id.getMostSignificantBits());
        out.put64(id.getLeastSignificantBits());
        return out.toArray();
    }

    static Map<String, String> parseStringMap(byte[] body) throws RollcallException {
        if (body.length == 0) {
            return Collections.emptyMap();
        }
        Cutter c = new Cutter(body, 0, "a string map");
        Map<String, String> map = c.map();
        c.end();
        return map;
    }

    /** A code and a text, as a Close has them. */
    static RollcallException parseClose(byte[] body) throws RollcallException {
        Cutter c = new Cutter(body, 0, "a code and a text");
        int code = c.u16();
        String text = c.text(c.u16());
        return new RollcallException(code, text, c.mapOrEnd(), null);
    }

    static ReplyException parseError(byte[] body) throws RollcallException {
        return new ReplyException(parseClose(body));
    }

    /** The fields of an accepted Logon's or Renew's reply; throws the server's refusal. */
    static Map<String, String> parseLogonReply(byte[] body) throws RollcallException {
        Cutter c = new Cutter(body, 0, "a logon's reply");
        if (c.u16() != 0) {
            throw parseClose(body);
        }
        return c.mapOrEnd();
    }

    static List<String> parseIdList(byte[] body) throws RollcallException {
        Cutter c = new Cutter(body, 0, "an ID list");
        int n = c.u16();
        if (n > MAX_IDS) {
            throw RollcallException.invalid("an ID list of " + n + ", " + MAX_IDS + " is the most");
        }
        List<String> ids = new ArrayList<>(n);
        for (int i = 0; i < n; i++) {
            String id = c.text(c.u8());
            if (id.isEmpty() || Utf8.hasControls(id)) {
                throw RollcallException.invalid("an ID list with what is no user ID");
            }
            ids.add(id);
        }
        c.end();
        return Collections.unmodifiableList(ids);
    }

    static UUID parsePushAck(byte[] body) throws RollcallException {
        if (body.length != 16) {
            throw RollcallException.invalid("a push's ID of " + body.length + " bytes");
        }
        return pushId(body);
    }

    private static UUID pushId(byte[] body) throws RollcallException {
        UUID id = new UUID(Frame.u64(body, 0), Frame.u64(body, 8));
        if (id.getMostSignificantBits() == 0 && id.getLeastSignificantBits() == 0) {
            throw RollcallException.invalid("a push without an ID");
        }
        return id;
    }

    static Push parsePush(byte[] body) throws RollcallException {
        if (body.length < PUSH_HEAD + 1) {
            throw RollcallException.invalid("a push of " + body.length + " bytes");
        }
        UUID id = pushId(body);
        int kind = Frame.u8(body, 16);
        int flags = Frame.u8(body, 17);
        if (flags > 1) {
            throw RollcallException.invalid("a push with flags " + flags);
        }
        Cutter c = new Cutter(body, PUSH_HEAD - 1, "a push");
        String name = c.text(c.u8());
        if (kind == 0 || kind == Push.CUSTOM && name.isEmpty() || kind < Push.CUSTOM && !name.isEmpty()) {
            throw RollcallException.invalid("a push of kind " + kind + (name.isEmpty() ? " without" : " with") + " a name");
        }
        Map<String, String> metadata = c.map();
        byte[] content = c.rest();
        if (kind == Push.TEXT && Utf8.decode(content, 0, content.length) == null) {
            throw RollcallException.invalid("a text push that is not UTF-8");
        }
        return new Push(id, kind, flags == 1, Frame.u64(body, 18), name, metadata, content);
    }

    /** Cuts a body into its parts. */
    private static final class Cutter {
        private final byte[] body;
        private final String what;
        private int at;

        Cutter(byte[] body, int at, String what) {
            this.body = body;
            this.at = at;
            this.what = what;
        }

        private int take(int n) throws RollcallException {
            if (body.length - at < n) {
                throw RollcallException.invalid(what + " that is cut off");
            }
            at += n;
            return at - n;
        }

        int u8() throws RollcallException {
            return Frame.u8(body, take(1));
        }

        int u16() throws RollcallException {
            return Frame.u16(body, take(2));
        }

        String text(int length) throws RollcallException {
            String s = Utf8.decode(body, take(length), length);
            if (s == null) {
                throw RollcallException.invalid(what + " with what is not UTF-8");
            }
            return s;
        }

        Map<String, String> map() throws RollcallException {
            int n = u8();
            Map<String, String> map = new LinkedHashMap<>();
            for (int i = 0; i < n; i++) {
                String key = text(u8());
                String value = text(u16());
                if (key.isEmpty()) {
                    throw RollcallException.invalid(what + " with an empty key");
                }
                if (map.put(key, value) != null) {
                    throw RollcallException.invalid(what + " with a key that comes twice");
                }
            }
            return Collections.unmodifiableMap(map);
        }

        Map<String, String> mapOrEnd() throws RollcallException {
            if (at == body.length) {
                return Collections.emptyMap();
            }
            Map<String, String> map = map();
            end();
            return map;
        }

        byte[] rest() {
            return Arrays.copyOfRange(body, at, body.length);
        }

        void end() throws RollcallException {
            if (at != body.length) {
                throw RollcallException.invalid(what + " with " + (body.length - at) + " bytes too many");
            }
        }
    }
}
