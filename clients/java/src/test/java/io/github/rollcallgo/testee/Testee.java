package io.github.rollcallgo.testee;

import io.github.rollcallgo.client.ClientBuilder;
import io.github.rollcallgo.client.ClientClosedException;
import io.github.rollcallgo.client.CloseCode;
import io.github.rollcallgo.client.ConnectionState;
import io.github.rollcallgo.client.DisconnectedException;
import io.github.rollcallgo.client.Message;
import io.github.rollcallgo.client.MessageTooLargeException;
import io.github.rollcallgo.client.NotConnectedException;
import io.github.rollcallgo.client.Push;
import io.github.rollcallgo.client.ReplyException;
import io.github.rollcallgo.client.RollcallClient;
import io.github.rollcallgo.client.RollcallException;
import io.github.rollcallgo.client.StateChange;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicLong;

/** The program that the conformance suite drives: docs/writing-a-client.md has the commands and events. */
public final class Testee {
    private final PrintStream out = System.out;
    private final Map<Long, Message> requests = new ConcurrentHashMap<>();
    private final AtomicLong lastRequest = new AtomicLong();
    private final Map<String, CountDownLatch> held = new ConcurrentHashMap<>();
    private volatile RollcallClient client;
    private Thread dialing;
    private volatile Object settings = "";
    private volatile Throwable lastError;

    private Testee() {
    }

    /** Runs until the standard input ends. */
    public static void main(String[] args) throws IOException {
        Testee t = new Testee();
        t.tell("ready", "language", "java", "transports", Arrays.asList("tcp", "tls"));
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            Map<String, Object> c = Json.object(line);
            try {
                t.run(c);
            } catch (RollcallException | RuntimeException e) {
                t.fail(c, e);
            }
        }
        t.close();
    }

    private void run(Map<String, Object> c) throws RollcallException {
        switch ((String) c.get("do")) {
            case "dial":
                dialing = new Thread(() -> dial(c));
                dialing.start();
                break;
            case "send":
                send(c);
                tell("done", "tag", c.get("tag"));
                break;
            case "request": request(c); break;
            case "online":
                dialed().whoIsOnline(strings(c.get("users"))).whenComplete((users, e) -> {
                    if (e == null) {
                        tell("reply", "tag", c.get("tag"), "users", users);
                    } else {
                        fail(c, e);
                    }
                });
                break;
            case "reply": reply(c, requests.remove((Long) c.get("request"))); break;
            case "ack": held.computeIfAbsent((String) c.get("push"), id -> new CountDownLatch(1)).countDown(); break;
            case "show": tell("shown", "tag", c.get("tag"), "text", client + "\n" + settings + "\n" + trace(lastError)); break;
            case "close": close(); break;
            default: throw new IllegalArgumentException("no such command: " + c.get("do"));
        }
    }

    private void dial(Map<String, Object> c) {
        client = null;
        try {
            ClientBuilder b = RollcallClient.builder((String) c.get("address"));
            settings = b;
            configure(b, c);
            client = b.connect();
        } catch (RollcallException e) {
            lost("closed", e);
        } catch (IllegalArgumentException e) {
            lost("closed", new RollcallException(CloseCode.INVALID_MESSAGE, e.getMessage()));
        }
    }

    private void configure(ClientBuilder b, Map<String, Object> c) {
        if (!"".equals(c.getOrDefault("user", ""))) {
            b.user((String) c.get("user"));
        }
        b.device(((Long) c.getOrDefault("device", 0L)).intValue());
        ((Map<?, ?>) c.getOrDefault("fields", new LinkedHashMap<>())).forEach((k, v) -> b.field((String) k, (String) v));
        if (c.containsKey("tokens")) {
            Iterator<String> tokens = strings(c.get("tokens")).iterator();
            String[] last = {""};
            b.token(() -> last[0] = tokens.hasNext() ? tokens.next() : last[0]);
        }
        if (c.containsKey("ca")) {
            b.caFile(Path.of((String) c.get("ca")));
        }
        for (Object type : (List<?>) c.getOrDefault("types", Arrays.asList(1L))) {
            b.onMessage(((Long) type).intValue(), this::message);
        }
        boolean hold = Boolean.TRUE.equals(c.get("hold"));
        b.onPush(p -> push(p, hold)).onState(this::state).onHandlerError(Throwable::printStackTrace);
        b.backoff(millis(c, "min_ms", 200), millis(c, "max_ms", 30_000)).stableAfter(millis(c, "stable_ms", 60_000));
        b.maxBody(((Long) c.getOrDefault("max_body", 0L)).intValue());
    }

    private void send(Map<String, Object> c) throws RollcallException {
        if (c.containsKey("to") && !"".equals(c.get("to"))) {
            dialed().sendTo((String) c.get("to"), type(c), body(c));
        } else {
            dialed().send(type(c), body(c));
        }
    }

    private void request(Map<String, Object> c) throws RollcallException {
        Duration limit = millis(c, "timeout_ms", 30_000);
        CompletableFuture<Message> reply = c.containsKey("to") && !"".equals(c.get("to"))
            ? dialed().requestTo((String) c.get("to"), type(c), body(c), limit) : dialed().request(type(c), body(c), limit);
        reply.whenComplete((m, e) -> {
            if (e == null) {
                tell("reply", "tag", c.get("tag"), "from", m.from(), "body", hex(m.body()));
            } else {
                fail(c, e);
            }
        });
    }

    private void reply(Map<String, Object> c, Message m) throws RollcallException {
        if (c.containsKey("code")) {
            m.replyError(((Long) c.get("code")).intValue(), (String) c.getOrDefault("text", ""));
        } else {
            m.reply(body(c));
        }
    }

    private void message(Message m) {
        if (m.isRequest()) {
            long number = lastRequest.incrementAndGet();
            requests.put(number, m);
            tell("request", "request", number, "from", m.from(), "type", m.type(), "body", hex(m.body()));
        } else {
            tell("message", "from", m.from(), "type", m.type(), "body", hex(m.body()));
        }
    }

    private void push(Push p, boolean hold) throws InterruptedException {
        String id = p.id().toString();
        tell("push", "id", id, "kind", p.kind(), "name", p.name(), "time", p.time() == null ? 0 : p.time().toEpochMilli(),
            "confirm", p.isToBeConfirmed(), "metadata", p.metadata(), "body", hex(p.content()));
        if (hold) {
            held.computeIfAbsent(id, any -> new CountDownLatch(1)).await();
        }
    }

    private void state(StateChange s) {
        if (s.state() == ConnectionState.ONLINE) {
            tell("state", "state", "online", "user", s.user());
        } else {
            lost(s.state().toString().toLowerCase(Locale.ROOT), s.reason());
        }
    }

    private void lost(String state, RollcallException why) {
        lastError = why;
        tell("state", "state", state, "code", why.code(), "text", why.text(),
            "may_reconnect", why.mayReconnect());
    }

    private void fail(Map<String, Object> c, Throwable e) {
        lastError = e;
        List<Object> event = new ArrayList<>(Arrays.asList("tag", c.getOrDefault("tag", ""), "reason", reason(e)));
        if (e instanceof ReplyException) {
            event.addAll(Arrays.asList("code", ((RollcallException) e).code(), "text", ((RollcallException) e).text()));
        }
        tell("error", event.toArray());
    }

    private static String reason(Throwable e) {
        return e instanceof ReplyException ? "refused" : e instanceof TimeoutException ? "timeout"
            : e instanceof DisconnectedException ? "disconnected" : e instanceof NotConnectedException ? "not-connected"
            : e instanceof MessageTooLargeException ? "too-large" : e instanceof IllegalArgumentException ? "invalid"
            : e instanceof ClientClosedException ? "closed" : e.toString();
    }

    /** Waits until dial is done. */
    private RollcallClient dialed() {
        try {
            dialing.join();
            return client;
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    /** Ends a dial that waits, by interrupting it. */
    private void close() {
        if (dialing != null) {
            dialing.interrupt();
            RollcallClient c = dialed();
            if (c != null) {
                c.close();
            }
        }
    }

    private void tell(String event, Object... fields) {
        Map<String, Object> e = new LinkedHashMap<>();
        e.put("event", event);
        for (int i = 0; i < fields.length; i += 2) {
            e.put((String) fields[i], fields[i + 1]);
        }
        synchronized (out) {
            out.println(Json.write(e));
            out.flush();
        }
    }

    private static int type(Map<String, Object> c) {
        return ((Long) c.getOrDefault("type", 1L)).intValue();
    }

    private static Duration millis(Map<String, Object> c, String key, long standard) {
        return Duration.ofMillis((Long) c.getOrDefault(key, standard));
    }

    private static byte[] body(Map<String, Object> c) {
        String hex = (String) c.getOrDefault("body", "");
        byte[] b = new byte[c.containsKey("size") ? ((Long) c.get("size")).intValue() : hex.length() / 2];
        for (int i = 0; i < hex.length() / 2; i++) {
            b[i] = (byte) (Character.digit(hex.charAt(2 * i), 16) << 4 | Character.digit(hex.charAt(2 * i + 1), 16));
        }
        return b;
    }

    private static String hex(byte[] b) {
        StringBuilder s = new StringBuilder(2 * b.length);
        for (byte x : b) {
            s.append(Character.forDigit(x >> 4 & 15, 16)).append(Character.forDigit(x & 15, 16));
        }
        return s.toString();
    }

    private static List<String> strings(Object list) {
        List<String> s = new ArrayList<>();
        ((List<?>) list).forEach(x -> s.add((String) x));
        return s;
    }

    private static String trace(Throwable e) {
        StringWriter s = new StringWriter();
        if (e != null) {
            e.printStackTrace(new PrintWriter(s));
        }
        return s.toString();
    }
}
