package io.github.rollcallgo.client;

import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.rollcallgo.client.TestServer.Peer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** A client that reconnects a thousand times keeps no memory, threads or descriptors of the connections before. */
@Timeout(300)
class LeakTest {
    private static final int RECONNECTS = 1000;
    /** About a tenth of what a thousand buffers of readers would take. */
    private static final long MOST_BYTES = 6 << 20;
    private static final int MOST_THREADS = 10;
    private static final int MOST_DESCRIPTORS = 20;

    @Test
    void aThousandReconnects() throws Exception {
        try (TestServer server = new TestServer()) {
            Thread accepting = new Thread(() -> serve(server));
            accepting.start();
            ClientBuilder b = server.builder().backoff(Duration.ZERO, Duration.ZERO).token(() -> "t");
            try (RollcallClient c = b.connect()) {
                long[] before = null;
                for (int i = 0; i <= RECONNECTS; i++) {
                    long until = System.nanoTime() + 30_000_000_000L;
                    while (!answers(c)) {
                        assertTrue(System.nanoTime() < until, "not online again after " + i);
                    }
                    if (i == 100) {
                        before = used();
                    }
                }
                long[] after = used();
                String figures = String.format("%d KB, %d threads, %d descriptors more than after 100 reconnects",
                    (after[0] - before[0]) >> 10, after[1] - before[1], after[2] - before[2]);
                System.out.println("After 1,000 reconnects: " + figures);
                assertTrue(after[0] - before[0] < MOST_BYTES, figures);
                assertTrue(after[1] - before[1] < MOST_THREADS, figures);
                assertTrue(after[2] - before[2] < MOST_DESCRIPTORS, figures);
            }
            accepting.interrupt();
        }
    }

    /** Answers one request on each connection, and then ends it. */
    private static void serve(TestServer server) {
        try {
            while (true) {
                try (Peer p = server.online("session", "s", "expires-ms", "60000")) {
                    p.send(1, Frame.REPLY, p.next(1).id, "", Frame.NOTHING);
                    p.end(CloseCode.SERVER_STOPPING, "again");
                } catch (RollcallException e) {
                    continue; // the client has closed this one
                }
            }
        } catch (java.io.IOException e) {
            return; // the listener is closed
        }
    }

    private static boolean answers(RollcallClient c) throws InterruptedException {
        try {
            c.request(1, Frame.NOTHING).get();
            return true;
        } catch (java.util.concurrent.ExecutionException e) {
            Thread.sleep(1); // it is reconnecting
            return false;
        }
    }

    private static long[] used() throws Exception {
        Runtime r = Runtime.getRuntime();
        long least = Long.MAX_VALUE;
        for (int i = 0; i < 5; i++) {
            System.gc();
            Thread.sleep(20);
            least = Math.min(least, r.totalMemory() - r.freeMemory());
        }
        Path descriptors = Path.of("/proc/self/fd");
        long open = 0;
        if (Files.isDirectory(descriptors)) {
            try (Stream<Path> all = Files.list(descriptors)) {
                open = all.count();
            }
        }
        return new long[] {least, Thread.getAllStackTraces().size(), open};
    }
}
