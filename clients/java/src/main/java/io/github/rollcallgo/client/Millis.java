package io.github.rollcallgo.client;

import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;

/** Times in milliseconds: the clock, and numbers that a server sends, which are bounded here. */
final class Millis {
    static final long HOUR = TimeUnit.HOURS.toMillis(1);
    static final long DEFAULT_HEARTBEAT = 10_000;
    private static final long LEAST_HEARTBEAT = 100;
    /** The most that sessions may last; sums of a few of these do not overflow. */
    private static final long NEVER = Long.MAX_VALUE / 8;

    private Millis() {
    }

    /** The time since some moment, on a clock that is never set. */
    static long now() {
        return TimeUnit.NANOSECONDS.toMillis(System.nanoTime());
    }

    /** Parses decimal digits; 0 for what is none, and for null. */
    static long parse(String digits) {
        return parse(digits, 0);
    }

    /** Parses decimal digits. Returns none for what is no number, and for null. */
    static long parse(String digits, long none) {
        if (digits == null || digits.isEmpty()) {
            return none;
        }
        long n = 0;
        for (int i = 0; i < digits.length(); i++) {
            char c = digits.charAt(i);
            if (c < '0' || c > '9') {
                return none;
            }
            n = Math.min(n * 10 + c - '0', NEVER / 16);
        }
        return n;
    }

    /** How often to send something, by the server's heartbeat-ms. */
    static long heartbeat(String digits) {
        long ms = parse(digits);
        return ms == 0 ? DEFAULT_HEARTBEAT : Math.min(Math.max(ms, LEAST_HEARTBEAT), HOUR);
    }

    /** How long the server wants a client to wait before it tries again, by its retry-ms. */
    static long retry(RollcallException why) {
        return Math.min(parse(why.info().get("retry-ms")), HOUR);
    }

    /** A random time from least to most, both included. */
    static long between(long least, long most) {
        return ThreadLocalRandom.current().nextLong(least, most + 1);
    }
}
