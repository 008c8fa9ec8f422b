package io.github.rollcallgo.client;

/**
 * Knows when a heartbeat is due, and when the server counts as gone. It has no clock: each method is told the time, in milliseconds.
 * Only the thread that writes uses it.
 */
final class Pulse {
    /** What {@link #beat} may say. */
    enum Beat { NONE, TELL, ASK, SERVER_GONE }

    /** The least delay of a beat that counts as a standstill of the process. */
    private static final long STANDSTILL = 250;
    /** The least time after which a silent server counts as gone, so that its short pauses do not count. */
    private static final long LEAST_SERVER_TIMEOUT = 3000;

    private final long interval;
    private final long serverTimeout;
    private final long askAfter;
    private long sent;
    private long asked;
    private long due;
    private long resumed;
    private boolean stoodStill;

    Pulse(long interval, long now) {
        this.interval = interval;
        serverTimeout = Math.max(3 * interval, LEAST_SERVER_TIMEOUT);
        askAfter = (serverTimeout + 2) / 3;
        sent = now;
        asked = now - serverTimeout;
        due = now;
    }

    void sent(long now) {
        sent = now;
    }

    /** Returns how long to wait before the next beat. */
    long untilDue(long now, long heard) {
        due = Math.max(Math.min(sent + interval, Math.max(lastHeard(heard), asked) + askAfter), now);
        return due - now;
    }

    /**
     * Says what to do now, if the server was last heard at that time. When the server was asked much longer ago than it should be, this
     * process stood still, and the answer may have come but be unread: then it is asked again.
     */
    Beat beat(long now, long heard) {
        if (now - due >= STANDSTILL && (!stoodStill || now - resumed >= serverTimeout)) {
            resumed = now;
            stoodStill = true;
        }
        long last = lastHeard(heard);
        boolean ask = now - Math.max(last, asked) >= askAfter;
        if (ask && now - last >= serverTimeout && now - asked < 2 * askAfter) {
            return Beat.SERVER_GONE;
        }
        if (ask) {
            asked = now;
            return Beat.ASK;
        }
        return now - sent >= interval ? Beat.TELL : Beat.NONE;
    }

    /** After a standstill a third of the server's timeout is left: what has come is read, and the server is asked at once. */
    private long lastHeard(long heard) {
        return stoodStill ? Math.max(heard, resumed - 2 * askAfter) : heard;
    }
}
