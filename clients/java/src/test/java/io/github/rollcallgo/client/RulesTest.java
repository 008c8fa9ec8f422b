package io.github.rollcallgo.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.Test;

/** The rules that need neither a network nor a clock. */
class RulesTest {
    @Test
    void backoffDoublesEightTimesAtMost() {
        Backoff b = new Backoff(10, 100_000, most -> most);
        long want = 10;
        for (int n = 0; n < 40; n++) {
            assertEquals(want, b.next());
            want = Math.min(want * 2, 2560);
        }
        b.reset();
        assertEquals(10, b.next());
    }

    @Test
    void backoffStaysBelowItsMost() {
        Backoff b = new Backoff(200, 30_000, most -> most);
        long last = 0;
        for (int n = 0; n < 40; n++) {
            last = b.next();
            assertTrue(last <= 30_000);
        }
        assertEquals(30_000, last);
    }

    @Test
    void backoffIsSpreadEvenly() {
        Backoff b = new Backoff(999, 999, most -> Millis.between(0, most));
        int[] tenths = new int[10];
        for (int n = 0; n < 10_000; n++) {
            tenths[(int) b.next() / 100]++;
        }
        for (int n : tenths) {
            assertTrue(n > 800 && n < 1200, "a tenth has " + n + " of 10,000");
        }
    }

    @Test
    void numbersOfTheServerAreBounded() {
        assertEquals(100, Millis.heartbeat("1"));
        assertEquals(250, Millis.heartbeat("250"));
        assertEquals(Millis.DEFAULT_HEARTBEAT, Millis.heartbeat("0"));
        assertEquals(Millis.DEFAULT_HEARTBEAT, Millis.heartbeat(null));
        assertEquals(Millis.DEFAULT_HEARTBEAT, Millis.heartbeat("-5"));
        assertEquals(Millis.HOUR, Millis.heartbeat("99999999999999999999999999"));
        assertEquals(Millis.HOUR, Millis.retry(withInfo("retry-ms", "18446744073709551616")));
        assertEquals(5, Millis.retry(withInfo("retry-ms", "5")));
        assertEquals(0, Millis.retry(withInfo("retry-ms", "soon")));
        assertEquals(0, Millis.retry(withInfo("other", "5")));
        assertTrue(Millis.parse("99999999999999999999999999") > 0);
    }

    private static RollcallException withInfo(String key, String value) {
        Map<String, String> info = new HashMap<>();
        info.put(key, value);
        return new RollcallException(CloseCode.SERVER_STOPPING, "", info, null);
    }

    @Test
    void codesDecideByTheirClass() {
        for (int code : new int[] {1000, 1001, 1010, 1999, 3000, 3999}) {
            assertTrue(CloseCode.mayReconnect(code), "code " + code);
        }
        for (int code : new int[] {0, 999, 2000, 2008, 2999, 4000, 4999, 5000, 5999, 6000, 9999, 65535}) {
            assertFalse(CloseCode.mayReconnect(code), "code " + code);
        }
        assertEquals("NodeLost", CloseCode.name(CloseCode.NODE_LOST));
        assertEquals("SessionExpired", CloseCode.name(CloseCode.SESSION_EXPIRED));
        assertEquals("TimedOut", CloseCode.name(CloseCode.TIMED_OUT));
        assertEquals("code 3001", CloseCode.name(3001));
    }

    @Test
    void addressOfTheServerChangesHostAndPortAlone() {
        Address a = Address.parse("tls://one.example:9000");
        assertEquals("tls://two.example:9001", a.movedTo("two.example:9001").toString());
        assertEquals("tls://[::1]:1", a.movedTo("[::1]:1").toString());
        for (String bad : new String[] {null, "", "two", "two:", ":1", "two:0", "two:65536", "two:-1", "two:9x", "tcp://two:1", "ws://two:1",
            "two:1/path", "u@two:1", "two two:1", "::1:1", "[two]:1", "zwei\u00e4:1", "two:1?x"}) {
            assertNull(a.movedTo(bad), "moved to " + bad);
        }
    }

    @Test
    void addressHasAScheme() {
        assertEquals("tcp://localhost:1", Address.parse("tcp://localhost:1").toString());
        for (String bad : new String[] {"localhost:1", "ws://localhost:1", "tcp://localhost", "TLS//x:1", "tls://user:secret@host:1"}) {
            IllegalArgumentException e = assertThrows(IllegalArgumentException.class, () -> Address.parse(bad));
            assertFalse(e.getMessage().contains("secret"));
        }
    }

    @Test
    void pushesAreRememberedUpTo1024() {
        SeenPushes seen = new SeenPushes();
        for (long i = 1; i <= 1024; i++) {
            seen.add(new UUID(0, i));
        }
        seen.add(new UUID(0, 1));
        assertTrue(seen.has(new UUID(0, 1)));
        seen.add(new UUID(0, 1025));
        assertFalse(seen.has(new UUID(0, 1)));
        for (long i = 2; i <= 1025; i++) {
            assertTrue(seen.has(new UUID(0, i)));
        }
    }

    @Test
    void requestIdsLeaveOut0AndOpenOnes() {
        Requests r = new Requests(-3);
        Set<Integer> ids = new HashSet<>();
        for (int i = 0; i < 5; i++) {
            ids.add(r.add("", new CompletableFuture<>()));
        }
        assertEquals(Set.of(-2, -1, 1, 2, 3), ids);
        Requests again = new Requests(4);
        int open = again.add("", new CompletableFuture<>());
        for (long n = 0; n < (1L << 20); n++) {
            assertNotEquals(0, again.nextId());
            assertNotEquals(open, again.nextId());
        }
    }

    @Test
    void repliesCountIfTheyComeFromWhoWasAsked() {
        Requests r = new Requests(0);
        CompletableFuture<Message> bob = new CompletableFuture<>();
        int id = r.add("bob", bob);
        assertNull(r.answeredBy("carol", id));
        assertNull(r.answeredBy("bob", id + 1));
        assertSame(bob, r.answeredBy("bob", id));
        assertNull(r.answeredBy("bob", id));
        int server = r.add("", bob);
        assertNull(r.answeredBy("bob", server));
        assertSame(bob, r.answeredBy("", server));
        int offline = r.add("bob", bob);
        assertSame(bob, r.answeredBy("", offline));
    }

    @Test
    void renewalsAreInGoodTime() {
        for (int i = 0; i < 1000; i++) {
            long at = Renewal.renewAfter(1000);
            assertTrue(at >= 600 && at <= 750, "after " + at);
            long again = Renewal.tryAgainAfter(16_000, 0);
            assertTrue(again >= 1000 && again <= 2000, "again after " + again);
        }
        assertEquals(100, Renewal.tryAgainAfter(10, 0));
        assertEquals(5000, Renewal.tryAgainAfter(10, 5000));
        assertTrue(Renewal.worthAnotherTry(CloseCode.INTERNAL_ERROR));
        assertTrue(Renewal.worthAnotherTry(CloseCode.REFUSED));
        assertFalse(Renewal.worthAnotherTry(CloseCode.UNAUTHORIZED));
        assertFalse(Renewal.worthAnotherTry(4000));
    }
}
