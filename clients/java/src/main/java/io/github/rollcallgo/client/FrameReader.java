package io.github.rollcallgo.client;

import java.io.IOException;
import java.io.InputStream;
import java.util.Arrays;

/** Finds frames in a stream. Only the thread that reads uses it, apart from {@link #heard}. */
final class FrameReader {
    private static final int SIZE = 64 << 10;
    /** Larger buffers are given back when their frame has been read. */
    private static final int KEEP = 1 << 20;

    private final InputStream in;
    private byte[] buffer = new byte[SIZE];
    private int start;
    private int end;
    private volatile long heard = Millis.now();

    FrameReader(InputStream in) {
        this.in = in;
    }

    /** When bytes last came. */
    long heard() {
        return heard;
    }

    /** Decodes the next frame. The exception has NETWORK_ERROR where the stream ended. */
    void next(Frame frame) throws RollcallException {
        int need = 1;
        while (true) {
            if (end - start >= need) {
                int n = frame.decode(buffer, start, end - start);
                if (n > 0) {
                    start += n;
                    return;
                }
                need = -n;
            }
            makeRoom(need);
            fill();
        }
    }

    /** Reads and drops everything until the stream ends. */
    void drain() {
        start = 0;
        end = 0;
        try {
            while (in.read(buffer) >= 0) {
                heard = Millis.now();
            }
        } catch (IOException e) {
            return; // this is an end too
        }
    }

    private void fill() throws RollcallException {
        int n;
        try {
            n = in.read(buffer, end, buffer.length - end);
        } catch (IOException e) {
            throw RollcallException.network("reading: " + e.getMessage(), e);
        }
        if (n < 0) {
            throw RollcallException.network(start == end ? "the server ended the connection without a Close"
                : "the server ended the connection within a frame", null);
        }
        end += n;
        heard = Millis.now();
    }

    /** Moves what is left to the front; the buffer doubles as the bytes of a large frame come, so that a header alone takes no memory. */
    private void makeRoom(int need) {
        int left = end - start;
        if (left == 0 && buffer.length > KEEP) {
            buffer = new byte[SIZE];
        } else if (left == buffer.length) {
            long size = Math.min(need, 2L * buffer.length);
            buffer = Arrays.copyOfRange(buffer, start, start + (int) size);
        } else if (start > 0) {
            System.arraycopy(buffer, start, buffer, 0, left);
        }
        start = 0;
        end = left;
    }
}
