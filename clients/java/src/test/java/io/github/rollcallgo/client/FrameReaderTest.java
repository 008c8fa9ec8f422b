package io.github.rollcallgo.client;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayInputStream;
import java.io.InputStream;
import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.api.Test;

/** Frames are found in a stream, however it is cut. */
class FrameReaderTest {
    /** A stream that gives a few bytes at a time. */
    private static InputStream pieces(byte[] all, int most) {
        Random random = new Random(1);
        return new InputStream() {
            private int at;

            @Override
            public int read() {
                throw new UnsupportedOperationException();
            }

            @Override
            public int read(byte[] b, int from, int length) {
                assertTrue(length > 0, "a read of no bytes");
                if (at == all.length) {
                    return -1;
                }
                int n = Math.min(Math.min(1 + random.nextInt(most), length), all.length - at);
                System.arraycopy(all, at, b, from, n);
                at += n;
                return n;
            }
        };
    }

    private static byte[] frames(int... sizes) {
        ByteQueue q = new ByteQueue();
        for (int i = 0; i < sizes.length; i++) {
            byte[] body = new byte[sizes[i]];
            Arrays.fill(body, (byte) i);
            Frame.append(q, 1, 0, i, 0, Frame.NOTHING, Frame.NOTHING, body);
        }
        return q.toArray();
    }

    @Test
    void findsFramesInPieces() throws Exception {
        int[] sizes = {0, 1, 100, 70_000, 0, 3, 1 << 20, 5, 65_520, 65_519, 65_521, 2 << 20, 1};
        for (int most : new int[] {7, 1000, 1 << 20}) {
            FrameReader r = new FrameReader(pieces(frames(sizes), most));
            Frame f = new Frame(4 << 20);
            for (int i = 0; i < sizes.length; i++) {
                r.next(f);
                assertEquals(i, f.id);
                byte[] want = new byte[sizes[i]];
                Arrays.fill(want, (byte) i);
                assertArrayEquals(want, f.body);
            }
            RollcallException e = assertThrows(RollcallException.class, () -> r.next(f));
            assertEquals(CloseCode.NETWORK_ERROR, e.code());
            assertEquals("the server ended the connection without a Close", e.text());
        }
    }

    @Test
    void tellsOfAnEndWithinAFrame() {
        byte[] all = frames(100);
        FrameReader r = new FrameReader(new ByteArrayInputStream(all, 0, 50));
        RollcallException e = assertThrows(RollcallException.class, () -> r.next(new Frame(1000)));
        assertEquals("the server ended the connection within a frame", e.text());
    }

    @Test
    void aHeaderAloneTakesNoMemory() {
        byte[] header = frames(0);
        header[4] = 0x7F; // almost 2 GiB
        FrameReader r = new FrameReader(new ByteArrayInputStream(header));
        RollcallException e = assertThrows(RollcallException.class, () -> r.next(new Frame(Integer.MAX_VALUE)));
        assertEquals(CloseCode.NETWORK_ERROR, e.code());
    }

    @Test
    void onlySystemFramesMayBeLargerThanASmallLimit() throws Exception {
        Frame f = new Frame(10);
        ByteQueue q = new ByteQueue();
        Frame.append(q, Frame.CLOSE, 0, 0, 0, Frame.NOTHING, Frame.NOTHING, new byte[10 + (64 << 10)]);
        assertEquals(q.size(), f.decode(q.bytes(), 0, q.size()));
        byte[] plain = frames(11);
        assertEquals(CloseCode.MESSAGE_TOO_LARGE,
            assertThrows(RollcallException.class, () -> f.decode(plain, 0, plain.length)).code());
    }
}
