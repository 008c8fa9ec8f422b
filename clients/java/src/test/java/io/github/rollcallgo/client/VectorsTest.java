package io.github.rollcallgo.client;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assertions.fail;
import static org.junit.jupiter.api.DynamicTest.dynamicTest;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/** The codec does what protocol/testdata/vectors.txt says; the head of that file says what its columns are. */
class VectorsTest {
    private static final Path FILE = Path.of("..", "..", "protocol", "testdata", "vectors.txt");

    @TestFactory
    List<DynamicTest> vectors() throws IOException {
        List<DynamicTest> tests = new ArrayList<>();
        for (String line : Files.readAllLines(FILE)) {
            if (!line.startsWith("#")) {
                String[] v = line.split("\t", -1);
                tests.add(dynamicTest(v[0] + ": " + v[1], () -> check(v)));
            }
        }
        assertTrue(tests.size() > 300, "only " + tests.size() + " vectors");
        return tests;
    }

    private static void check(String[] v) throws Exception {
        switch (v[0]) {
            case "frame": frame(v); break;
            case "refused": refused(v); break;
            case "unfinished": unfinished(v); break;
            case "map":
                assertEquals(map(v[3]), Bodies.parseStringMap(hex(v[2])));
                if (!v[2].isEmpty()) {
                    assertArrayEquals(hex(v[2]), Bodies.stringMap(map(v[3])));
                }
                break;
            case "logon-reply":
                assertEquals(map(v[3]), Bodies.parseLogonReply(hex(v[2])));
                break;
            case "close": close(v); break;
            case "push": push(v); break;
            case "push-ack":
                assertEquals(UUID.fromString(v[3]), Bodies.parsePushAck(hex(v[2])));
                assertArrayEquals(hex(v[2]), Bodies.pushAck(UUID.fromString(v[3])));
                break;
            case "id-list":
                assertEquals(list(v[3]), Bodies.parseIdList(hex(v[2])));
                assertArrayEquals(hex(v[2]), Bodies.idList(list(v[3])));
                break;
            case "bad-body": badBody(v); break;
            case "encode": encode(v); break;
            case "unsendable":
                if (isText(v[3])) {
                    assertThrows(IllegalArgumentException.class, () -> give(v[2], v[3]));
                }
                break;
            case "sendable": give(v[2], v[3]); break;
            default: fail("a kind of vector that this test does not know: " + v[0]);
        }
    }

    private static Frame decoder(String maxBody) {
        int max = Integer.parseInt(maxBody);
        return new Frame(max == 0 ? Integer.MAX_VALUE : max);
    }

    private static void frame(String[] v) throws Exception {
        byte[] bytes = hex(v[5]);
        Frame f = decoder(v[3]);
        assertEquals(bytes.length, f.decode(bytes, 0, bytes.length));
        assertEquals(Integer.parseInt(v[6]), f.type);
        assertEquals(Integer.parseInt(v[7]), f.flags);
        assertEquals(Integer.parseUnsignedInt(v[8]), f.id);
        assertEquals(Integer.parseInt(v[9]), f.device);
        assertEquals(text(v[10]), f.from);
        assertEquals(text(v[11]), f.to);
        assertArrayEquals(hex(v[12]), f.body);
        ByteQueue again = new ByteQueue();
        Frame.append(again, f.type, f.flags, f.id, f.device, utf8(f.from), utf8(f.to), f.body);
        assertArrayEquals(bytes, again.toArray());
    }

    /** The same code, whether the frame comes at once or byte by byte. */
    private static void refused(String[] v) throws Exception {
        byte[] bytes = hex(v[5]);
        if (!v[4].equals("0")) { // this client limits bodies, not frames
            v[3] = String.valueOf(Integer.parseInt(v[4]) - Frame.HEADER - bytes[12] - bytes[13]);
        }
        RollcallException e = assertThrows(RollcallException.class, () -> decoder(v[3]).decode(bytes, 0, bytes.length));
        assertEquals(Integer.parseInt(v[6]), e.code());
        int found = 0;
        for (int n = 0; n <= bytes.length && found == 0; n++) {
            try {
                int need = decoder(v[3]).decode(Arrays.copyOf(bytes, n), 0, n);
                assertTrue(need < 0 && -need > n, "of " + n + " bytes: " + need);
            } catch (RollcallException now) {
                assertEquals(Integer.parseInt(v[6]), now.code());
                found = n;
            }
        }
        assertTrue(found >= Integer.parseInt(v[7]), "refused with " + found + " bytes");
    }

    private static void unfinished(String[] v) throws Exception {
        byte[] bytes = hex(v[5]);
        assertEquals(-Integer.parseInt(v[6]), decoder(v[3]).decode(bytes, 0, bytes.length));
    }

    private static void close(String[] v) throws Exception {
        RollcallException e = Bodies.parseClose(hex(v[2]));
        assertEquals(Integer.parseInt(v[3]), e.code());
        assertEquals(text(v[4]), e.text());
        assertEquals(map(v[5]), e.info());
        assertArrayEquals(hex(v[2]), Bodies.close(e.code(), e.text(), e.info()));
    }

    private static void push(String[] v) throws Exception {
        Push p = Bodies.parsePush(hex(v[2]));
        assertEquals(v[3], p.id().toString());
        assertEquals(Integer.parseInt(v[4]), p.kind());
        assertEquals(text(v[5]), p.name());
        assertEquals(v[6].equals("1"), p.isToBeConfirmed());
        assertEquals(Long.parseLong(v[7]), p.time() == null ? 0 : p.time().toEpochMilli());
        assertEquals(map(v[8]), p.metadata());
        assertArrayEquals(hex(v[9]), p.content());
    }

    private static void badBody(String[] v) {
        byte[] body = hex(v[2]);
        RollcallException e = assertThrows(RollcallException.class, () -> {
            switch (v[3]) {
                case "map": Bodies.parseStringMap(body); break;
                case "push": Bodies.parsePush(body); break;
                case "push-ack": Bodies.parsePushAck(body); break;
                case "id-list": Bodies.parseIdList(body); break;
                default: fail("a kind of body that this test does not know: " + v[3]);
            }
        });
        assertEquals(Integer.parseInt(v[4]), e.code());
    }

    private static void encode(String[] v) {
        byte[] body;
        switch (v[2]) {
            case "message": case "reply": body = hex(v[9]); break;
            case "logon": case "renew": body = v[9].isEmpty() ? Bodies.stringMap(Collections.emptyMap()) : Bodies.stringMap(map(v[9])); break;
            case "close": case "error-reply": body = Bodies.close(Integer.parseInt(v[9]), text(v[10]), map(v[11])); break;
            case "push-ack": body = Bodies.pushAck(UUID.fromString(v[9])); break;
            case "who-is-online": body = Bodies.idList(list(v[9])); break;
            default: body = Frame.NOTHING; assertEquals("", v[9]);
        }
        ByteQueue out = new ByteQueue();
        Frame.append(out, Integer.parseInt(v[3]), Integer.parseInt(v[4]), Integer.parseUnsignedInt(v[5]), Integer.parseInt(v[6]),
            hex(v[7]), hex(v[8]), body);
        assertArrayEquals(hex(v[12]), out.toArray());
    }

    /** Gives a text to the part of the API that takes it. */
    private static void give(String what, String bytes) {
        ClientBuilder b = RollcallClient.builder("tcp://localhost:1");
        String text = text(bytes);
        switch (what) {
            case "user": b.user(text); break;
            case "dest": Bodies.userId(text); break; // sendTo and requestTo do this first
            case "listed": Bodies.idList(Arrays.asList("bob", text)); break;
            case "key": b.field(text, "value"); break;
            case "value": b.field("key", text); break;
            default: fail("a kind of text that this test does not know: " + what);
        }
    }

    /** Java's strings hold UTF-16; of what is no UTF-8 they can hold halves of surrogate pairs alone. */
    private static boolean isText(String bytes) {
        return bytes.contains("*") || bytes.isEmpty() || Utf8.decode(hex(bytes), 0, hex(bytes).length) != null;
    }

    private static byte[] hex(String s) {
        int star = s.indexOf('*');
        if (star >= 0) {
            return hex(s.substring(0, star).repeat(Integer.parseInt(s.substring(star + 1))));
        }
        byte[] b = new byte[s.length() / 2];
        for (int i = 0; i < b.length; i++) {
            b[i] = (byte) Integer.parseInt(s.substring(2 * i, 2 * i + 2), 16);
        }
        return b;
    }

    private static String text(String hex) {
        return new String(hex(hex), StandardCharsets.UTF_8);
    }

    private static byte[] utf8(String s) {
        return s.getBytes(StandardCharsets.UTF_8);
    }

    private static Map<String, String> map(String s) {
        Map<String, String> map = new LinkedHashMap<>();
        for (String pair : s.isEmpty() ? new String[0] : s.split(",")) {
            String[] kv = pair.split("=", -1);
            map.put(text(kv[0]), text(kv[1]));
        }
        return map;
    }

    private static List<String> list(String s) {
        List<String> list = new ArrayList<>();
        for (String id : s.isEmpty() ? new String[0] : s.split(",")) {
            list.add(text(id));
        }
        return list;
    }
}
