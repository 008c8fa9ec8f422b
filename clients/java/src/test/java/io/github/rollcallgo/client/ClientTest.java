package io.github.rollcallgo.client;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.rollcallgo.client.TestServer.Peer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** A whole client against a server that the test plays. The conformance suite has the protocol's rules; here is what is Java's own. */
@Timeout(120)
class ClientTest {
    private static final int CHAT = 1;
    private TestServer server;
    private final BlockingQueue<Object> seen = new ArrayBlockingQueue<>(1000);

    @BeforeEach
    void start() throws Exception {
        server = new TestServer();
    }

    @AfterEach
    void end() throws Exception {
        server.close();
        awaitNoThreads();
    }

    /** No thread of a client is left when it is closed. */
    static void awaitNoThreads() throws InterruptedException {
        long until = System.nanoTime() + TimeUnit.SECONDS.toNanos(30);
        String left;
        do {
            left = "";
            for (Thread t : Thread.getAllStackTraces().keySet()) {
                left += t.getName().startsWith("rollcall-") ? t.getName() + " " : "";
            }
            if (left.isEmpty()) {
                return;
            }
            Thread.sleep(5);
        } while (System.nanoTime() < until);
        throw new AssertionError("threads are left: " + left);
    }

    private Object next() throws InterruptedException {
        Object o = seen.poll(30, TimeUnit.SECONDS);
        assertTrue(o != null, "nothing has come");
        return o;
    }

    static <T> T get(CompletableFuture<T> f) throws Exception {
        return f.get(30, TimeUnit.SECONDS);
    }

    private static byte[] bytes(String s) {
        return s.getBytes(StandardCharsets.UTF_8);
    }

    /** Runs the server's side beside connect. */
    static <T> CompletableFuture<T> beside(Callable<T> serverSide) {
        CompletableFuture<T> f = new CompletableFuture<>();
        Thread t = new Thread(() -> {
            try {
                f.complete(serverSide.call());
            } catch (Exception e) {
                f.completeExceptionally(e);
            }
        });
        t.start();
        return f;
    }

    private static <E extends Throwable> E failure(Class<E> type, CompletableFuture<?> f) {
        return assertInstanceOf(type, assertThrows(ExecutionException.class, () -> get(f)).getCause());
    }

    @Test
    void requestsAreAnswered() throws Exception {
        CompletableFuture<Peer> peer = beside(() -> server.online("session", "s1"));
        try (RollcallClient c = server.builder().device(7).field("app", "x").token(() -> "t").connect(); Peer p = get(peer)) {
            assertEquals(TestServer.map("app", "x", "token", "t"), p.logon);
            CompletableFuture<Message> reply = c.request(CHAT, bytes("ping"));
            Frame f = p.next(CHAT);
            assertEquals("ping", new String(f.body, StandardCharsets.UTF_8));
            p.send(CHAT, Frame.REPLY, f.id, "", bytes("pong"));
            assertEquals("pong", get(reply).text());

            CompletableFuture<Message> refused = c.requestTo("bob", CHAT, bytes("?"));
            f = p.next(CHAT);
            assertEquals("bob", f.to);
            p.send(CHAT, Frame.REPLY | Frame.ERROR, f.id, "", Bodies.close(CloseCode.USER_OFFLINE, "away", TestServer.map("a", "b")));
            ReplyException e = failure(ReplyException.class, refused);
            assertEquals(CloseCode.USER_OFFLINE, e.code());
            assertEquals("away", e.text());
            assertEquals("b", e.info().get("a"));
            assertFalse(e.mayReconnect());

            CompletableFuture<List<String>> online = c.whoIsOnline(Arrays.asList("bob", "carol"));
            f = p.next(Frame.WHO_IS_ONLINE);
            assertEquals(Arrays.asList("bob", "carol"), Bodies.parseIdList(f.body));
            p.send(Frame.WHO_IS_ONLINE, Frame.REPLY, f.id, "", Bodies.idList(Collections.singletonList("carol")));
            assertEquals(Collections.singletonList("carol"), get(online));
        }
    }

    @Test
    void requestsEndByTimeCancelAndClose() throws Exception {
        CompletableFuture<Peer> peer = beside(server::online);
        RollcallClient c = server.builder().connect();
        Peer p = get(peer);
        failure(TimeoutException.class, c.request(CHAT, bytes("late"), Duration.ofMillis(1)));
        CompletableFuture<Message> cancelled = c.request(CHAT, bytes("cancelled"));
        p.next(CHAT);
        int id = p.next(CHAT).id;
        cancelled.cancel(true);
        p.send(CHAT, Frame.REPLY, id, "", bytes("too late"));
        CompletableFuture<Message> open = c.request(CHAT, bytes("open"));
        CompletableFuture<Void> serverEnds = beside(() -> {
            p.awaitEnd();
            p.close();
            return null;
        });
        c.close();
        get(serverEnds);
        failure(DisconnectedException.class, open);
        failure(ClientClosedException.class, c.request(CHAT, bytes("closed")));
        assertThrows(ClientClosedException.class, () -> c.send(CHAT, bytes("closed")));
        c.close();
        assertEquals(ConnectionState.CLOSED, c.state());
        assertEquals(CloseCode.CLIENT_CLOSED, c.awaitClosed().code());
    }

    @Test
    void requestsOfTheServerAreAnsweredOnce() throws Exception {
        CompletableFuture<Peer> peer = beside(server::online);
        CompletableFuture<Throwable> error = new CompletableFuture<>();
        ClientBuilder b = server.builder().onHandlerError(error::complete)
            .onMessage(1, m -> {
                m.reply(bytes("one"));
                assertThrows(IllegalStateException.class, () -> m.reply(bytes("two")));
            })
            .onMessage(2, m -> {
                throw new ReplyException(3999, "no", TestServer.map("k", "v"));
            })
            .onMessage(3, m -> {
                throw new IllegalArgumentException("a fault in the program");
            })
            .onMessage(4, m -> m.reply(new byte[(1 << 20) + 1]));
        try (RollcallClient c = b.connect(); Peer p = get(peer)) {
            for (int type = 1; type <= 5; type++) {
                p.send(type, 0, 70 + type, type == 1 ? "bob" : "", bytes("?"));
            }
            assertEquals("bob", p.next(1).to);
            assertEquals(71, p.frame.id);
            assertEquals("one", new String(p.frame.body, StandardCharsets.UTF_8));
            RollcallException refused = Bodies.parseClose(p.next(2).body);
            assertEquals(3999, refused.code());
            assertEquals(TestServer.map("k", "v"), refused.info());
            assertEquals(CloseCode.HANDLER_FAILED, Bodies.parseClose(p.next(3).body).code());
            assertEquals("a fault in the program", get(error).getMessage());
            assertEquals(CloseCode.HANDLER_FAILED, Bodies.parseClose(p.next(4).body).code());
            assertEquals(CloseCode.NO_HANDLER, Bodies.parseClose(p.next(5).body).code());
            assertEquals(75, p.frame.id);
            assertEquals(ConnectionState.ONLINE, c.state());
        }
    }

    @Test
    void aHandlerMayAskAndWait() throws Exception {
        CompletableFuture<Peer> peer = beside(server::online);
        CompletableFuture<RollcallClient> client = new CompletableFuture<>();
        ClientBuilder b = server.builder().onMessage(CHAT, m -> seen.add(get(get(client).request(2, m.body())).text()));
        try (RollcallClient c = b.connect(); Peer p = get(peer)) {
            client.complete(c);
            p.send(CHAT, 0, 0, "bob", bytes("x"));
            p.send(2, Frame.REPLY, p.next(2).id, "", bytes("answer"));
            assertEquals("answer", next());
        }
    }

    @Test
    void pushesAreAcknowledgedBehindTheHandlerAndHandedOutOnce() throws Exception {
        CompletableFuture<Peer> peer = beside(() -> server.online("session", "s1"));
        CountDownLatch hold = new CountDownLatch(1);
        ClientBuilder b = server.builder().onState(s -> seen.add(s.toString())).onPush(p -> {
            seen.add(p.text());
            hold.await();
        });
        Push push = new Push(new UUID(7, 7), Push.TEXT, true, 0, "", Collections.emptyMap(), bytes("hello"));
        try (RollcallClient c = b.connect()) {
            Peer p = get(peer);
            assertEquals("ONLINE", next());
            p.push(push);
            assertEquals("hello", next());
            p.end(CloseCode.SERVER_STOPPING, "bye");
            while (c.state() == ConnectionState.ONLINE) { // the test's own limit ends this
                Thread.sleep(1);
            }
            hold.countDown();
            Peer again = server.online("session", "s2");
            assertEquals("s1", again.logon.get("session"));
            assertEquals(push.id(), Bodies.parsePushAck(again.next(Frame.PUSH_ACK).body)); // kept while there was no connection
            again.push(push);
            assertEquals(push.id(), Bodies.parsePushAck(again.next(Frame.PUSH_ACK).body));
            again.close();
        }
        assertEquals("RECONNECTING, ServerStopping: bye", next());
        assertEquals("ONLINE", next());
        Object end = next();
        while (end.toString().startsWith("RECONNECTING")) {
            end = next();
        }
        assertEquals("CLOSED, ClientClosed: the client is closed", end);
        assertNull(seen.poll());
    }

    @Test
    void aPushWhoseHandlerFailsIsNotAcknowledged() throws Exception {
        CompletableFuture<Peer> peer = beside(server::online);
        ClientBuilder b = server.builder().onPush(p -> {
            seen.add(p.id());
            if (seen.size() == 1) {
                throw new IllegalStateException("no disk");
            }
        });
        Push first = new Push(new UUID(0, 1), Push.BINARY, true, 0, "", Collections.emptyMap(), bytes(""));
        Push second = new Push(new UUID(0, 2), Push.BINARY, true, 0, "", Collections.emptyMap(), bytes(""));
        try (RollcallClient c = b.connect(); Peer p = get(peer)) {
            p.push(first);
            p.push(second);
            assertEquals(second.id(), Bodies.parsePushAck(p.next(Frame.PUSH_ACK).body));
            p.push(first);
            assertEquals(first.id(), Bodies.parsePushAck(p.next(Frame.PUSH_ACK).body));
        }
        assertEquals(Arrays.asList(first.id(), second.id(), first.id()), Arrays.asList(seen.toArray()));
    }

    @Test
    void textsShowNeitherTokenNorSession() throws Exception {
        CompletableFuture<Peer> peer = beside(() -> server.online("session", "hush-session"));
        ClientBuilder b = server.builder().token(() -> "hush-token").field("pin", "hush-field");
        try (RollcallClient c = b.connect(); Peer p = get(peer)) {
            assertFalse((c + " " + b).contains("hush"));
            assertTrue(c.toString().contains("alice"));
        }
    }

    @Test
    void aRefusedLogonIsAnException() throws Exception {
        CompletableFuture<Void> side = beside(() -> {
            Peer p = server.accept();
            p.readLogon();
            p.send(Frame.LOGON, Frame.REPLY | Frame.ERROR, p.frame.id, "", Bodies.close(CloseCode.UNAUTHORIZED, "bad token", TestServer.map()));
            p.end(CloseCode.UNAUTHORIZED, "bad token");
            return null;
        });
        RollcallException e = assertThrows(RollcallException.class, () -> server.builder().onState(seen::add).connect());
        assertEquals(CloseCode.UNAUTHORIZED, e.code());
        assertFalse(e.mayReconnect());
        assertEquals("Unauthorized: bad token", e.getMessage());
        get(side);
        assertTrue(seen.isEmpty());
    }

    @Test
    void connectCanBeInterruptedWhileTheTokenIsWaitedFor() throws Exception {
        CountDownLatch asked = new CountDownLatch(1);
        CompletableFuture<Boolean> interrupted = new CompletableFuture<>();
        Thread t = new Thread(() -> {
            try {
                server.builder().token(() -> {
                    asked.countDown();
                    Thread.sleep(Long.MAX_VALUE);
                    return "";
                }).connect();
            } catch (RollcallException e) {
                interrupted.complete(e instanceof ClientClosedException && Thread.currentThread().isInterrupted());
            }
        });
        t.start();
        assertTrue(asked.await(30, TimeUnit.SECONDS));
        t.interrupt();
        assertTrue(get(interrupted));
    }

    @Test
    void aTokenFunctionThatFailsIsTriedAgainUnlessItsCodeForbidsThat() throws Exception {
        RollcallException e = assertThrows(RollcallException.class, () -> server.builder().token(() -> {
            throw new java.io.IOException("hush: no network");
        }).connect());
        assertTrue(e.mayReconnect());
        assertFalse(e.getMessage().contains("hush"));
        RollcallException forbidden = assertThrows(RollcallException.class, () -> server.builder().token(() -> {
            throw new RollcallException(4001, "signed out");
        }).connect());
        assertEquals(4001, forbidden.code());
    }

    @Test
    void bodiesUpToTheLimitPassBothWays() throws Exception {
        CompletableFuture<Peer> peer = beside(() -> server.online("max-body", "3000000"));
        byte[] large = new byte[3_000_000];
        Arrays.fill(large, (byte) 5);
        try (RollcallClient c = server.builder().onMessage(CHAT, m -> seen.add(m.body())).connect(); Peer p = get(peer)) {
            assertThrows(MessageTooLargeException.class, () -> c.send(CHAT, new byte[3_000_001]));
            CompletableFuture<Message> tooLarge = c.request(CHAT, new byte[3_000_001]);
            failure(MessageTooLargeException.class, tooLarge);
            c.send(CHAT, large);
            assertArrayEquals(large, p.next(CHAT).body);
            p.send(CHAT, 0, 0, "", large);
            assertArrayEquals(large, (byte[]) next());
        }
    }

    @Test
    void argumentsAreChecked() throws Exception {
        ClientBuilder b = server.builder();
        assertThrows(IllegalArgumentException.class, () -> b.onMessage(0, m -> { }));
        assertThrows(IllegalArgumentException.class, () -> b.onMessage(0xFF00, m -> { }));
        assertThrows(IllegalArgumentException.class, () -> b.device(65536));
        assertThrows(IllegalArgumentException.class, () -> b.backoff(Duration.ofSeconds(-1), Duration.ZERO));
        assertThrows(IllegalArgumentException.class, () -> new ReplyException(2999, ""));
        CompletableFuture<Peer> peer = beside(server::online);
        try (RollcallClient c = b.connect(); Peer p = get(peer)) {
            assertThrows(IllegalArgumentException.class, () -> c.send(0xFF02, bytes("")));
            assertThrows(IllegalArgumentException.class, () -> c.sendTo("", CHAT, bytes("")));
            assertThrows(IllegalArgumentException.class, () -> c.request(0, bytes("")));
            assertThrows(IllegalArgumentException.class, () -> c.whoIsOnline(Collections.nCopies(1001, "bob")));
            assertThrows(IllegalArgumentException.class, () -> c.requestTo("a\nb", CHAT, bytes("")));
        }
    }

    @Test
    void aHandlerMayCloseTheClient() throws Exception {
        CompletableFuture<Peer> peer = beside(server::online);
        CompletableFuture<RollcallClient> client = new CompletableFuture<>();
        ClientBuilder b = server.builder().onState(s -> seen.add(s.state())).onMessage(CHAT, m -> get(client).close());
        RollcallClient c = b.connect();
        client.complete(c);
        Peer p = get(peer);
        p.send(CHAT, 0, 0, "", bytes("go"));
        p.awaitEnd();
        assertEquals(Frame.CLOSE, p.frame.type);
        p.close();
        assertEquals(CloseCode.CLIENT_CLOSED, c.awaitClosed().code());
        assertEquals(ConnectionState.ONLINE, next());
        assertEquals(ConnectionState.CLOSED, next());
    }

    @Test
    void closeEndsAHandlerThatIsStuck() throws Exception {
        CompletableFuture<Peer> peer = beside(server::online);
        CountDownLatch stuck = new CountDownLatch(1);
        RollcallClient c = server.builder().closeTimeout(Duration.ofMillis(50)).onMessage(CHAT, m -> {
            stuck.countDown();
            Thread.sleep(Long.MAX_VALUE);
        }).connect();
        try (Peer p = get(peer)) {
            p.send(CHAT, 0, 0, "", bytes("go"));
            assertTrue(stuck.await(30, TimeUnit.SECONDS));
            c.close();
        }
    }

    @Test
    void aReplyIsReadBehindMessagesThatWait() throws Exception {
        CompletableFuture<Peer> peer = beside(server::online);
        CompletableFuture<RollcallClient> client = new CompletableFuture<>();
        ClientBuilder b = server.builder().maxInbound(10_000)
            .onMessage(CHAT, m -> seen.add(m.body().length == 0 ? get(get(client).request(2, m.body())).text() : m.text()));
        try (RollcallClient c = b.connect(); Peer p = get(peer)) {
            client.complete(c);
            p.send(CHAT, 0, 0, "", bytes(""));
            for (int i = 0; i < 20; i++) {
                p.send(CHAT, 0, 0, "", new byte[1000]);
            }
            p.send(2, Frame.REPLY, p.next(2).id, "", bytes("answer"));
            assertEquals("answer", next());
            for (int i = 0; i < 20; i++) {
                next();
            }
        }
    }
}
