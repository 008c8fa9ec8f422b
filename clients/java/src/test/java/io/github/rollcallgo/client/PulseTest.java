package io.github.rollcallgo.client;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.rollcallgo.client.Pulse.Beat;
import org.junit.jupiter.api.Test;

/** Heartbeats, on a clock of the test's own. The interval is 10 s, so the server counts as gone after 30 s. */
class PulseTest {
    private static final long INTERVAL = 10_000;
    private long now = 1_000_000;
    private long heard = now;
    private final Pulse pulse = new Pulse(INTERVAL, now);

    /** Waits as long as the pulse says, and returns what is due then. */
    private Beat next() {
        now += pulse.untilDue(now, heard);
        Beat b = pulse.beat(now, heard);
        if (b != Beat.NONE) {
            pulse.sent(now);
        }
        return b;
    }

    @Test
    void tellsWhenNothingWasSent() {
        heard = now + 5000;
        assertEquals(INTERVAL, pulse.untilDue(now, heard));
        assertEquals(Beat.TELL, next());
    }

    @Test
    void doesNotTellWhatMessagesTell() {
        now += 9000;
        heard = now;
        pulse.sent(now);
        assertEquals(INTERVAL, pulse.untilDue(now, heard));
        assertEquals(Beat.NONE, pulse.beat(now, heard));
    }

    @Test
    void asksASilentServerAndGivesItUp() {
        assertEquals(Beat.ASK, next());
        assertEquals(heard + 10_000, now);
        assertEquals(Beat.ASK, next());
        assertEquals(heard + 20_000, now);
        assertEquals(Beat.SERVER_GONE, next());
        assertEquals(heard + 30_000, now);
    }

    @Test
    void keepsAServerThatAnswers() {
        for (int i = 0; i < 100; i++) {
            assertEquals(Beat.ASK, next());
            heard = now;
        }
    }

    @Test
    void asksOnceMoreAfterAStandstill() {
        pulse.untilDue(now, heard);
        now += 3_600_000; // the phone slept
        assertEquals(Beat.ASK, pulse.beat(now, heard));
        pulse.sent(now);
        assertEquals(Beat.SERVER_GONE, next());
    }

    @Test
    void shortIntervalsLeaveTheServer3Seconds() {
        Pulse quick = new Pulse(100, now);
        long silent = now;
        Beat b;
        do {
            now += quick.untilDue(now, silent);
            b = quick.beat(now, silent);
            quick.sent(now);
        } while (b != Beat.SERVER_GONE);
        assertEquals(silent + 3000, now);
    }
}
