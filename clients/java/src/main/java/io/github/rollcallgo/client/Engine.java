package io.github.rollcallgo.client;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;

/**
 * Keeps a client connected. Its thread makes connections and reads from them. The other threads are the timer, which never blocks, the
 * writer of the connection, and that of the handlers.
 */
final class Engine {
    final Settings settings;
    final Dispatcher dispatcher;

    private final ScheduledThreadPoolExecutor timer;
    private final Thread thread = new Thread(this::run, "rollcall-reader");
    private final CompletableFuture<Void> first = new CompletableFuture<>();
    private final Object lock = new Object();
    private Address at; // of the next attempt; only the thread uses it

    // The lock guards these.
    private ConnectionState state = ConnectionState.RECONNECTING;
    private Connection connection;     // null unless the client is online
    private Attempt attempt;
    private ClientClosedException stopped; // set by close
    private RollcallException ended;   // why the client has ended
    private boolean hurry;             // the next wait of the backoff is left out
    private String user;
    private String session = "";

    Engine(Settings settings) {
        this.settings = settings;
        user = settings.user;
        at = settings.address;
        dispatcher = new Dispatcher(this);
        timer = new ScheduledThreadPoolExecutor(1, task -> {
            Thread t = new Thread(task, "rollcall-timer");
            t.setDaemon(true);
            return t;
        });
        timer.setRemoveOnCancelPolicy(true);
        timer.setRejectedExecutionHandler(new ThreadPoolExecutor.DiscardPolicy()); // what comes after the end
        thread.setDaemon(true);
    }

    /** Returns when the client is online. Where the thread is interrupted before that the client is closed, and its listener told nothing. */
    void start() throws RollcallException {
        thread.start();
        try {
            first.get();
        } catch (InterruptedException e) {
            boolean online = !stop();
            if (!online) {
                close();
            }
            Thread.currentThread().interrupt();
            if (!online) {
                throw new ClientClosedException(null);
            }
        } catch (ExecutionException e) {
            throw (RollcallException) e.getCause();
        }
    }

    private void run() {
        RollcallException why = new RollcallException(CloseCode.INTERNAL_ERROR, "the client failed");
        try {
            why = connectAndStay();
        } catch (RuntimeException | Error e) {
            why = new RollcallException(CloseCode.INTERNAL_ERROR, "the client failed", e);
        } finally {
            finish(why);
        }
    }

    private RollcallException connectAndStay() {
        Backoff backoff = new Backoff(settings.minBackoff, settings.maxBackoff, most -> Millis.between(0, most));
        Connection c;
        try {
            c = connect();
        } catch (RollcallException e) {
            return e;
        }
        while (true) {
            if (!online(c)) {
                c.leave(new ClientClosedException(null), CloseCode.CLIENT_CLOSED, "");
            }
            RollcallException why = c.serve();
            if (c.age() >= settings.stableAfter) {
                backoff.reset();
            }
            synchronized (lock) {
                connection = null;
                state = ConnectionState.RECONNECTING;
            }
            try {
                c = reconnect(why, c.ghostTimeout(), backoff);
            } catch (RollcallException e) {
                return e;
            }
        }
    }

    /** Makes a new connection. The exception says why there will be none. */
    private Connection reconnect(RollcallException lost, long ghostTimeout, Backoff backoff) throws RollcallException {
        long since = Millis.now();
        RollcallException why = lost;
        for (boolean tried = false; ; tried = true) {
            // The session that keeps this client out may be its own, whose end the server has not noticed.
            boolean own = tried && why.code() == CloseCode.ALREADY_LOGGED_ON && Millis.now() - since < ghostTimeout;
            if (!why.mayReconnect() && !own || isStopped()) {
                throw why;
            }
            aim(why, tried);
            dispatcher.putState(new StateChange(ConnectionState.RECONNECTING, user(), why));
            pause(Millis.retry(why), backoff);
            if (isStopped()) {
                throw why;
            }
            try {
                return connect();
            } catch (RollcallException e) {
                why = e;
            }
        }
    }

    /** Chooses where to connect to: where the server says, or where the last connection was. After a failed attempt it is home again. */
    private void aim(RollcallException why, boolean failed) {
        if (failed) {
            at = settings.address;
        }
        Address named = at.movedTo(why.info().get("address"));
        if (named != null) {
            at = named;
        }
    }

    private Connection connect() throws RollcallException {
        Attempt a = new Attempt(this, at);
        synchronized (lock) {
            if (stopped != null) {
                throw new ClientClosedException(null);
            }
            attempt = a;
        }
        try {
            return a.run();
        } finally {
            synchronized (lock) {
                attempt = null;
            }
        }
    }

    /** The fields of a Logon, with a token that may be null or empty. */
    Map<String, String> logonFields(String token) {
        Map<String, String> fields = new LinkedHashMap<>(settings.fields);
        synchronized (lock) {
            if (!session.isEmpty()) {
                fields.put("session", session);
            }
        }
        if (token != null && !token.isEmpty()) {
            fields.put("token", token);
        }
        return fields;
    }

    /** Waits as long as the server asks, and then for the backoff, which {@link #reconnectNow} cuts short. */
    private void pause(long retry, Backoff backoff) {
        long start = Millis.now();
        long wait = backoff.next();
        synchronized (lock) {
            while (stopped == null) {
                long now = Millis.now();
                long left = start + retry + (hurry ? 0 : wait) - now;
                if (left <= 0) {
                    break;
                }
                try {
                    lock.wait(left);
                } catch (InterruptedException e) {
                    break; // only the client's own code could interrupt this thread
                }
            }
            if (hurry) {
                hurry = false;
                backoff.reset();
            }
        }
    }

    void reconnectNow() {
        synchronized (lock) {
            if (state == ConnectionState.RECONNECTING) {
                hurry = true;
                lock.notifyAll();
            }
        }
    }

    /** Makes c the client's connection. Returns false if the client was closed meanwhile. */
    private boolean online(Connection c) {
        synchronized (lock) {
            session = c.session();
            if (!c.user().isEmpty()) {
                user = c.user();
            }
            if (stopped != null) {
                return false;
            }
            connection = c;
            state = ConnectionState.ONLINE;
            hurry = false;
            if (first.complete(null)) {
                dispatcher.start();
            }
        }
        dispatcher.putState(new StateChange(ConnectionState.ONLINE, user(), null));
        return true;
    }

    /** The last call on the engine's thread. */
    private void finish(RollcallException reason) {
        RollcallException why;
        synchronized (lock) {
            why = stopped != null ? stopped : reason;
            connection = null;
            state = ConnectionState.CLOSED;
            ended = why;
        }
        timer.shutdownNow();
        dispatcher.putLast(new StateChange(ConnectionState.CLOSED, user(), why));
        first.completeExceptionally(why);
    }

    /** Makes the client end, unless it was online already. Returns false if it was. */
    private boolean stop() {
        synchronized (lock) {
            if (first.isDone() && !first.isCompletedExceptionally()) {
                return false;
            }
            stopped = new ClientClosedException(null);
            return true;
        }
    }

    /** Closes the client, and waits until its threads have ended. */
    void close() {
        Connection c;
        Attempt a;
        synchronized (lock) {
            if (stopped == null && state != ConnectionState.CLOSED) {
                stopped = new ClientClosedException(null);
            }
            c = connection;
            connection = null;
            a = attempt;
            lock.notifyAll();
        }
        if (a != null) {
            a.abort();
        }
        if (c != null) {
            c.leave(stopped, CloseCode.CLIENT_CLOSED, "");
        }
        dispatcher.discard();
        try {
            if (Thread.currentThread() != thread) {
                thread.join(settings.closeTimeout + TimeUnit.SECONDS.toMillis(2));
                timer.awaitTermination(1, TimeUnit.SECONDS);
            }
            dispatcher.join(settings.closeTimeout);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    // What the other classes use.

    ScheduledFuture<?> after(long ms, Runnable task) {
        return timer.schedule(task, ms, TimeUnit.MILLISECONDS);
    }

    ScheduledFuture<?> every(long ms, Runnable task) {
        return timer.scheduleWithFixedDelay(task, ms, ms, TimeUnit.MILLISECONDS);
    }

    boolean isStopped() {
        synchronized (lock) {
            return stopped != null;
        }
    }

    ConnectionState state() {
        synchronized (lock) {
            return state;
        }
    }

    String user() {
        synchronized (lock) {
            return user;
        }
    }

    /** Returns the connection, or says why there is none. */
    Connection current() throws RollcallException {
        synchronized (lock) {
            if (connection != null) {
                return connection;
            }
            if (stopped != null || ended != null) {
                throw new ClientClosedException(stopped != null ? null : ended);
            }
            throw new NotConnectedException();
        }
    }

    /** Why the client has ended; null while it has not. */
    RollcallException ended() {
        synchronized (lock) {
            return ended;
        }
    }

    void answer(Message request, int flags, byte[] body) throws RollcallException {
        Connection c = current();
        if (request.from().isEmpty() && request.connection() != c) { // there another request may have the ID
            throw new DisconnectedException(RollcallException.network("the request came on an earlier connection", null));
        }
        byte[] sent = (flags & Frame.ERROR) != 0 && c.isTooLarge(body) ? new byte[] {body[0], body[1], 0, 0} : body; // the code alone
        c.checkBody(sent);
        byte[] to = request.from().isEmpty() ? Frame.NOTHING : Bodies.userId(request.from());
        c.send(request.type(), flags, request.id(), to, sent);
    }

    void acknowledge(UUID push) throws RollcallException {
        current().send(Frame.PUSH_ACK, 0, 0, Frame.NOTHING, Bodies.pushAck(push));
    }
}
