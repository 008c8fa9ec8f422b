package io.github.rollcallgo.client;

import java.io.IOException;
import java.io.OutputStream;
import java.util.Collection;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.locks.ReentrantLock;

/**
 * One connection, from its logon to its end. The engine's thread reads; a thread of the connection writes. No thread holds the lock
 * while it reads, writes, completes a future or calls the program.
 */
final class Connection {
    private static final int DEFAULT_MAX_BODY = 1 << 20;
    /** How long the reader may look for the server's Close after a failed write. */
    private static final long LAST_WORDS = 1000;
    private static final int LOGON_ID = 1;

    private final Engine engine;
    private final Transport transport;
    private final Settings settings;
    private final FrameReader reader;
    private final Writer writer;
    private volatile boolean paused; // handlers are behind, so the client does not read

    // The logon sets these.
    private long born;
    private long interval = Millis.DEFAULT_HEARTBEAT;
    private long expires;
    private int maxBody;
    private Frame frame;
    private String user = "";
    private String session = "";

    private final ReentrantLock lock = new ReentrantLock();
    private boolean leaving;          // a Close was sent
    private RollcallException why;    // null while the connection has not ended
    private ScheduledFuture<?> limit; // ends the connection when the server does not end it in time
    private final Requests requests = new Requests(ThreadLocalRandom.current().nextInt());

    Connection(Engine engine, Transport transport) throws IOException {
        this.engine = engine;
        this.transport = transport;
        settings = engine.settings;
        reader = new FrameReader(transport.in());
        writer = new Writer(this, transport.out());
        setMaxBody(null);
    }

    Engine engine() {
        return engine;
    }

    /** The user as the server spells it; empty if it did not say. */
    String user() {
        return user;
    }

    String session() {
        return session;
    }

    /** How long the server may take to notice that this connection is dead. */
    long ghostTimeout() {
        return 3 * interval;
    }

    long age() {
        return Millis.now() - born;
    }

    long expires() {
        return expires;
    }

    /** Sends the Logon and waits for its answer, which comes before any other frame. */
    void logOn(byte[] fields) throws RollcallException {
        ByteQueue logon = new ByteQueue();
        Frame.append(logon, Frame.LOGON, 0, LOGON_ID, settings.device, settings.userBytes, Frame.NOTHING, fields);
        try {
            OutputStream out = transport.out();
            out.write(logon.bytes(), 0, logon.size());
            out.flush();
        } catch (IOException e) {
            throw RollcallException.network("sending the logon: " + e.getMessage(), e);
        }
        reader.next(frame);
        if (frame.type == Frame.CLOSE && !frame.isReply()) {
            throw Bodies.parseClose(frame.body);
        }
        if (frame.type != Frame.LOGON || !frame.isReply() || frame.id != LOGON_ID) {
            throw RollcallException.invalid("the server answered the logon with a message of type " + frame.type);
        }
        Map<String, String> answer = Bodies.parseLogonReply(frame.body);
        if (frame.isError()) {
            throw RollcallException.invalid("the logon was refused without a code");
        }
        user = frame.to;
        session = answer.getOrDefault("session", "");
        interval = Millis.heartbeat(answer.get("heartbeat-ms"));
        expires = Millis.parse(answer.get("expires-ms"));
        setMaxBody(answer.get("max-body"));
        born = Millis.now();
    }

    private void setMaxBody(String told) {
        int own = settings.maxBody;
        int server = (int) Math.min(Millis.parse(told, -1), Integer.MAX_VALUE); // negative if the server has named none
        int most = server < 0 ? DEFAULT_MAX_BODY : server;
        maxBody = own > 0 ? Math.min(most, own) : most;
        frame = new Frame(Math.max(own > 0 ? own : DEFAULT_MAX_BODY, server));
    }

    /** Runs the connection until it has ended, and returns why. */
    RollcallException serve() {
        Pulse pulse = new Pulse(interval, Millis.now());
        Thread writes = new Thread(() -> writer.run(pulse), "rollcall-writer");
        writes.setDaemon(true);
        writes.start();
        ScheduledFuture<?> watch = engine.every(Writer.TIMEOUT / 4, this::watchWriter);
        Renewal renewal = new Renewal(this, engine);
        renewal.begin();
        try {
            readAll();
        } catch (RollcallException e) {
            end(e);
        } catch (RuntimeException | Error e) {
            end(new RollcallException(CloseCode.INTERNAL_ERROR, "the client failed", e));
        }
        watch.cancel(false);
        renewal.stop();
        joinQuietly(writes);
        return why();
    }

    private RollcallException why() {
        lock.lock();
        try {
            return why;
        } finally {
            lock.unlock();
        }
    }

    private static void joinQuietly(Thread writes) {
        boolean interrupted = false;
        while (true) {
            try {
                writes.join();
                break;
            } catch (InterruptedException e) {
                interrupted = true;
            }
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    // Reading.

    private void readAll() throws RollcallException {
        while (true) {
            try {
                reader.next(frame);
                receive();
            } catch (RollcallException e) {
                if (e.code() != CloseCode.NETWORK_ERROR) {
                    complain(e);
                }
                throw e;
            }
        }
    }

    /** Tells the server why the client ends the connection, and waits until it ends its side. After a Close of the server it does nothing. */
    private void complain(RollcallException e) {
        if (frame.type == Frame.CLOSE) {
            return;
        }
        leave(e, e.code(), e.text());
        reader.drain();
    }

    private void receive() throws RollcallException {
        if (frame.isReply()) {
            answered();
            return;
        }
        switch (frame.type) {
            case Frame.HEARTBEAT:
                if (frame.id != 0) {
                    writer.post(Frame.HEARTBEAT, Frame.REPLY, frame.id, Frame.NOTHING);
                }
                break;
            case Frame.CLOSE:
                throw Bodies.parseClose(frame.body);
            case Frame.PUSH:
                if (settings.pushHandler != null) {
                    engine.dispatcher.put(Bodies.parsePush(frame.body), size(), this);
                }
                break;
            default:
                if (frame.type < Frame.FIRST_SYSTEM_TYPE) { // others are of later versions or of optional packages
                    engine.dispatcher.put(new Message(frame.type, frame.id, frame.device, frame.from, frame.body, this), size(), this);
                }
        }
    }

    private int size() {
        return Frame.HEADER + frame.from.length() + frame.to.length() + frame.body.length;
    }

    /** Drops a reply that no request waits for, and one of a user who was not asked: that is for another session of this user. */
    private void answered() {
        lock.lock();
        CompletableFuture<Message> waiting;
        try {
            waiting = requests.answeredBy(frame.from, frame.id);
        } finally {
            lock.unlock();
        }
        if (waiting == null) {
            return;
        }
        try {
            if (frame.isError()) {
                throw Bodies.parseError(frame.body);
            }
            waiting.complete(new Message(frame.type, frame.id, frame.device, frame.from, frame.body, null));
        } catch (RollcallException e) {
            waiting.completeExceptionally(e);
        }
    }

    /** Whether a request waits for its reply, so that the reader must not wait for the handlers. */
    boolean hasRequests() {
        lock.lock();
        try {
            return !requests.isEmpty();
        } finally {
            lock.unlock();
        }
    }

    void setPaused(boolean on) {
        paused = on;
    }

    boolean hasEnded() {
        return why() != null;
    }

    // Sending.

    void send(int type, int flags, int id, byte[] to, byte[] body) throws RollcallException {
        writer.send(type, flags, id, to, body);
    }

    boolean isTooLarge(byte[] body) {
        return body.length > maxBody;
    }

    void checkBody(byte[] body) throws MessageTooLargeException {
        if (isTooLarge(body)) {
            throw new MessageTooLargeException(body.length, maxBody);
        }
    }

    /** Sends a request. The future fails after the time, in milliseconds, or when the connection ends; its end ends the request. */
    CompletableFuture<Message> request(int type, String toName, byte[] to, byte[] body, long timeout) {
        return request(toName, timeout, id -> send(type, 0, id, to, body));
    }

    /** Sends a Renew, without waiting for the network: the timer's thread calls it. */
    CompletableFuture<Message> renew(byte[] fields, long timeout) {
        return request("", timeout, id -> writer.post(Frame.RENEW, 0, id, fields));
    }

    private interface Sending {
        void send(int id) throws RollcallException;
    }

    private CompletableFuture<Message> request(String toName, long timeout, Sending sending) {
        CompletableFuture<Message> reply = new CompletableFuture<>();
        int id;
        lock.lock();
        try {
            if (leaving || why != null) {
                reply.completeExceptionally(new NotConnectedException());
                return reply;
            }
            id = requests.add(toName, reply);
        } finally {
            lock.unlock();
        }
        engine.dispatcher.wake(); // a reader that waits for the handlers: the reply may come behind what they are to take
        ScheduledFuture<?> timer = engine.after(timeout, () -> reply.completeExceptionally(new TimeoutException("no reply in time")));
        reply.whenComplete((m, e) -> {
            timer.cancel(false);
            forget(id);
        });
        try {
            sending.send(id);
        } catch (RollcallException e) {
            reply.completeExceptionally(e);
        }
        return reply;
    }

    private void forget(int id) {
        lock.lock();
        try {
            requests.remove(id);
        } finally {
            lock.unlock();
        }
    }

    // The end.

    /** Begins to end the connection in order: what is queued goes out, then a Close; then the server has time to end its side. */
    void leave(RollcallException reason, int code, String text) {
        lock.lock();
        try {
            if (why != null || leaving) {
                return;
            }
            leaving = true;
            endAfter(settings.closeTimeout, reason);
        } finally {
            lock.unlock();
        }
        writer.leave(code, text);
        abandon(reason);
    }

    /** The lock is held. */
    private void endAfter(long ms, RollcallException reason) {
        if (limit != null) {
            limit.cancel(false);
        }
        limit = engine.after(ms, () -> end(reason));
    }

    /** Ends the connection at once. The first reason counts. */
    void end(RollcallException reason) {
        lock.lock();
        try {
            if (why != null) {
                return;
            }
            why = reason;
            if (limit != null) {
                limit.cancel(false);
            }
        } finally {
            lock.unlock();
        }
        transport.abort();
        writer.end();
        engine.dispatcher.wake();
        abandon(reason);
    }

    private void abandon(RollcallException reason) {
        Collection<CompletableFuture<Message>> waiting;
        lock.lock();
        try {
            waiting = requests.takeAll();
        } finally {
            lock.unlock();
        }
        for (CompletableFuture<Message> w : waiting) {
            w.completeExceptionally(new DisconnectedException(reason));
        }
    }

    /** Ends the connection after a write has failed, if the reader does not soon find out why. */
    void endSoon(RollcallException reason) {
        lock.lock();
        try {
            if (why == null && limit == null) {
                endAfter(LAST_WORDS, reason);
            }
        } finally {
            lock.unlock();
        }
    }

    // What the writer needs.

    /** When the server was last heard. Time in which this client does not read counts as heard. */
    long heard() {
        return paused ? Millis.now() : reader.heard();
    }

    int nextId() {
        lock.lock();
        try {
            return requests.nextId();
        } finally {
            lock.unlock();
        }
    }

    void shutdownOutput() {
        transport.shutdownOutput();
    }

    private void watchWriter() {
        if (writer.isStuck()) {
            end(RollcallException.network("the network took nothing for too long", null));
        }
    }
}
