package io.github.rollcallgo.client;

import java.util.function.LongUnaryOperator;

/** The wait before each attempt: exponential with full jitter, so that the clients of a lost server do not all come back at once. */
final class Backoff {
    private static final int MOST_DOUBLINGS = 8;

    private final long min;
    private final long max;
    private final LongUnaryOperator random;
    private int attempt;

    /** The times are in milliseconds; random returns a number from 0 to its argument, that included. */
    Backoff(long min, long max, LongUnaryOperator random) {
        this.min = min;
        this.max = max;
        this.random = random;
    }

    long next() {
        long limit = min << Math.min(attempt, MOST_DOUBLINGS);
        attempt++;
        return random.applyAsLong(Math.min(limit, max));
    }

    void reset() {
        attempt = 0;
    }
}
