package io.github.rollcallgo.client;

import java.util.Arrays;

/** Bytes that are appended at the end, big-endian. It is not safe for concurrent use. */
final class ByteQueue {
    private static final int LEAST = 512;

    private byte[] bytes = new byte[LEAST];
    private int size;

    byte[] bytes() {
        return bytes;
    }

    int size() {
        return size;
    }

    /** Empties the queue, and keeps its memory if that is at most so large. */
    void clear(int most) {
        size = 0;
        if (bytes.length > most) {
            bytes = new byte[LEAST];
        }
    }

    void put8(int v) {
        reserve(1);
        bytes[size++] = (byte) v;
    }

    void put16(int v) {
        reserve(2);
        bytes[size++] = (byte) (v >>> 8);
        bytes[size++] = (byte) v;
    }

    void put32(int v) {
        put16(v >>> 16);
        put16(v);
    }

    void put64(long v) {
        put32((int) (v >>> 32));
        put32((int) v);
    }

    void put(byte[] b) {
        reserve(b.length);
        System.arraycopy(b, 0, bytes, size, b.length);
        size += b.length;
    }

    byte[] toArray() {
        return Arrays.copyOf(bytes, size);
    }

    private void reserve(int n) {
        if (bytes.length - size < n) {
            bytes = Arrays.copyOf(bytes, Math.max(Math.addExact(size, n), (int) Math.min(2L * bytes.length, Integer.MAX_VALUE - 8)));
        }
    }
}
