package io.github.rollcallgo.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.rollcallgo.client.TestServer.Peer;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.BooleanSupplier;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Assertions;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Trouble that the server or the program makes. */
@Timeout(120)
class TroubleTest {
    private TestServer server;
    private final BlockingQueue<Object> seen = new ArrayBlockingQueue<>(1000);

    @BeforeEach
    void start() throws Exception {
        server = new TestServer();
    }

    @AfterEach
    void end() throws Exception {
        server.close();
        ClientTest.awaitNoThreads();
    }

    private static void await(String what, BooleanSupplier ok) throws InterruptedException {
        long until = System.nanoTime() + TimeUnit.SECONDS.toNanos(30);
        while (!ok.getAsBoolean()) {
            assertTrue(System.nanoTime() < until, what + " does not come");
            Thread.sleep(2);
        }
    }

    private Object next() throws InterruptedException {
        return seen.poll(30, TimeUnit.SECONDS);
    }

    /** Whether a thread of this name waits in a method of this class. */
    private static boolean waitsIn(String thread, Class<?> where) {
        for (var t : Thread.getAllStackTraces().entrySet()) {
            if (t.getKey().getName().equals(thread) && t.getKey().getState() == Thread.State.WAITING) {
                for (StackTraceElement e : t.getValue()) {
                    if (e.getClassName().equals(where.getName())) {
                        return true;
                    }
                }
            }
        }
        return false;
    }

    @Test
    void errorRepliesKeepToASmallLimit() throws Exception {
        CompletableFuture<Peer> peer = ClientTest.beside(() -> server.online("max-body", "4"));
        ClientBuilder b = server.builder().onMessage(2, m -> m.reply(new byte[5]));
        try (RollcallClient c = b.connect(); Peer p = ClientTest.get(peer)) {
            p.send(1, 0, 7, "", Frame.NOTHING);
            assertEquals(CloseCode.NO_HANDLER, Bodies.parseClose(p.next(1).body).code());
            assertEquals(4, p.frame.body.length);
            p.send(2, 0, 8, "", Frame.NOTHING);
            assertEquals(CloseCode.HANDLER_FAILED, Bodies.parseClose(p.next(2).body).code());
            assertEquals(4, p.frame.body.length);
            assertEquals(ConnectionState.ONLINE, c.state());
        }
    }

    @Test
    void tooMuchBehindAHandlerWhileARequestWaitsIsToldToTheServer() throws Exception {
        CompletableFuture<Peer> peer = ClientTest.beside(server::online);
        CountDownLatch release = new CountDownLatch(1);
        ClientBuilder b = server.builder().maxInbound(10_000).onMessage(1, m -> release.await());
        try (RollcallClient c = b.connect(); Peer p = ClientTest.get(peer)) {
            c.request(2, Frame.NOTHING);
            p.next(2);
            for (int i = 0; i < 60; i++) {
                p.send(1, 0, 0, "", new byte[1000]);
            }
            assertEquals(CloseCode.RATE_LIMITED, Bodies.parseClose(p.next(Frame.CLOSE).body).code());
            release.countDown();
        }
    }

    @Test
    void aLimitThatIsNoNumberIsNone() throws Exception {
        CompletableFuture<Peer> peer = ClientTest.beside(() -> server.online("max-body", "large"));
        try (RollcallClient c = server.builder().connect(); Peer p = ClientTest.get(peer)) {
            c.send(1, new byte[1000]);
            assertEquals(1000, p.next(1).body.length);
        }
    }

    @Test
    void aClientStaysWhereTheServerHasSentIt() throws Exception {
        try (TestServer other = new TestServer()) {
            CompletableFuture<Peer> peer = ClientTest.beside(server::online);
            try (RollcallClient c = server.builder().onState(s -> seen.add(s.state())).connect()) {
                ClientTest.get(peer).end(CloseCode.SERVER_STOPPING, "", "address", "127.0.0.1:" + other.port());
                other.online().end(CloseCode.SERVER_STOPPING, "");
                Peer refuses = other.accept(); // it is there again, as after any loss
                refuses.readLogon();
                refuses.end(CloseCode.SERVER_STOPPING, "");
                server.online().close(); // after a failed attempt it is back
            }
        }
    }

    @Test
    void aRenewalWithATokenThatCannotBeSentIsGivenUp() throws Exception {
        Thread.UncaughtExceptionHandler before = Thread.getDefaultUncaughtExceptionHandler();
        Thread.setDefaultUncaughtExceptionHandler((t, e) -> seen.add(t.getName() + " " + e));
        try {
            CompletableFuture<Peer> peer = ClientTest.beside(() -> server.online("expires-ms", "1000"));
            CountDownLatch asked = new CountDownLatch(2);
            ClientBuilder b = server.builder().token(() -> {
                asked.countDown();
                return asked.getCount() > 0 ? "t" : "t".repeat(70_000);
            });
            try (RollcallClient c = b.connect(); Peer p = ClientTest.get(peer)) {
                assertTrue(asked.await(30, TimeUnit.SECONDS));
                await("the end of the token's thread", () -> Thread.getAllStackTraces().keySet().stream().noneMatch(t -> t.getName().equals("rollcall-token")));
                assertEquals(ConnectionState.ONLINE, c.state());
            }
            assertNull(seen.poll(), "nothing is thrown on a thread of the client");
        } finally {
            Thread.setDefaultUncaughtExceptionHandler(before);
        }
    }

    @Test
    void aRenewalDoesNotHoldUpTheTimer() throws Exception {
        CompletableFuture<Peer> peer = ClientTest.beside(() -> server.online("expires-ms", "3000"));
        try (RollcallClient c = server.builder().closeTimeout(Duration.ofMillis(50)).connect()) {
            Peer p = ClientTest.get(peer);
            CompletableFuture<Message> late = c.request(1, Frame.NOTHING, Duration.ofSeconds(4)); // the renewal is due before
            Thread sender = new Thread(() -> {
                try {
                    while (true) {
                        c.send(1, new byte[1 << 20]); // until the server, which reads nothing, has the network full
                    }
                } catch (RollcallException e) {
                    return; // the client is closed
                }
            }, "sender");
            sender.start();
            await("a full queue", () -> waitsIn("sender", Writer.class));
            ExecutionException e = Assertions.assertThrows(ExecutionException.class, () -> ClientTest.get(late));
            assertTrue(e.getCause() instanceof TimeoutException, e.toString());
            c.close();
            p.close();
            sender.join();
        }
    }

    @Test
    void anAddressThatDoesNotAnswerLeavesTheNextOneTime() throws Exception {
        InetAddress silent = InetAddress.getByName("127.0.0.2");
        List<Socket> queued = new ArrayList<>();
        try (ServerSocket full = new ServerSocket(server.port(), 1, silent)) {
            try {
                while (queued.size() < 100) { // its queue has room for few; then no connection is answered
                    Socket s = new Socket();
                    queued.add(s);
                    s.connect(new InetSocketAddress(silent, server.port()), 500);
                }
                throw new AssertionError("the queue has no end");
            } catch (SocketTimeoutException e) {
                assertTrue(queued.size() > 1, "the first is answered");
            }
            Transport t = new Transport();
            InetAddress[] both = {silent, InetAddress.getByName("127.0.0.1")};
            t.connect(both, Millis.now() + 4000, Address.parse(server.address()), null);
            server.accept().close();
            t.abort();
        } finally {
            for (Socket s : queued) {
                s.close();
            }
        }
    }

    @Test
    void changesOfStateDoNotGatherBehindAHandlerThatIsStuck() throws Exception {
        CompletableFuture<Peer> peer = ClientTest.beside(server::online);
        CountDownLatch stuck = new CountDownLatch(1);
        CountDownLatch release = new CountDownLatch(1);
        ClientBuilder b = server.builder().maxInbound(1).backoff(Duration.ZERO, Duration.ZERO).onState(s -> seen.add(s.state()))
            .onMessage(1, m -> {
                stuck.countDown();
                release.await();
            });
        try (RollcallClient c = b.connect()) {
            Peer p = ClientTest.get(peer);
            p.send(1, 0, 0, "", Frame.NOTHING);
            assertTrue(stuck.await(30, TimeUnit.SECONDS));
            p.end(CloseCode.SERVER_STOPPING, "");
            server.online().end(CloseCode.SERVER_STOPPING, "");
            await("a reader that waits", () -> waitsIn("rollcall-reader", Dispatcher.class));
            release.countDown();
            try (Peer third = server.online()) {
                for (ConnectionState s : new ConnectionState[] {ConnectionState.ONLINE, ConnectionState.RECONNECTING, ConnectionState.ONLINE,
                    ConnectionState.RECONNECTING, ConnectionState.ONLINE}) {
                    assertEquals(s, next());
                }
            }
        }
    }
}
