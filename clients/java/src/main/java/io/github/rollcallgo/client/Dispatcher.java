package io.github.rollcallgo.client;

import java.util.ArrayDeque;
import java.util.Deque;
import java.util.LinkedHashSet;
import java.util.Set;
import java.util.UUID;

/** Queues what comes for the program, and calls its handlers on one thread. */
final class Dispatcher {
    /** What a change of state counts. */
    private static final int STATE_SIZE = 1 << 10;
    /** How many times the limit may wait while a request waits for its reply. */
    private static final int HARD_LIMIT = 4;
    private static final long INTERRUPTED_HANDLER = 1000;

    private static final class Item {
        final Object what; // a Message, a Push or a StateChange
        final int size;

        Item(Object what, int size) {
            this.what = what;
            this.size = size;
        }

        boolean isLast() {
            return what instanceof StateChange && ((StateChange) what).state() == ConnectionState.CLOSED;
        }
    }

    private final Engine engine;
    private final Settings settings;
    private final Thread thread = new Thread(this::run, "rollcall-handlers");

    // The monitor of this object guards these.
    private final Deque<Item> items = new ArrayDeque<>();
    private int bytes;
    private boolean discarding;
    private boolean taking; // the thread waits for an item
    private boolean putting; // a thread waits for room

    // Only the thread uses these.
    private final SeenPushes seen = new SeenPushes();
    private final Set<UUID> unsentAcks = new LinkedHashSet<>();

    Dispatcher(Engine engine) {
        this.engine = engine;
        settings = engine.settings;
        thread.setDaemon(true);
    }

    void start() {
        thread.start();
    }

    // The side that puts.

    /**
     * Queues a Message or a Push of a connection. Waits for room, unless the connection has ended, or a request waits whose reply may
     * come behind this item.
     */
    void put(Object what, int size, Connection from) throws RollcallException {
        Item item = new Item(what, size);
        if (add(item, settings.maxInbound)) {
            return;
        }
        from.setPaused(true);
        try {
            while (!from.hasEnded()) {
                boolean urgent = from.hasRequests();
                if (add(item, urgent ? (long) settings.maxInbound * HARD_LIMIT : settings.maxInbound)) {
                    return;
                }
                if (urgent) {
                    throw new RollcallException(CloseCode.RATE_LIMITED,
                        "more has come than may wait for the handlers while a request waits for its reply");
                }
                awaitRoom(from);
            }
        } finally {
            from.setPaused(false);
        }
    }

    private synchronized boolean add(Item item, long limit) {
        if (discarding) {
            return true;
        }
        if (bytes >= limit) {
            return false;
        }
        items.add(item);
        bytes += item.size;
        if (taking) {
            notifyAll();
        }
        return true;
    }

    /** Waits until something has changed. What it checks first is so that a wake-up before the wait is not lost. */
    private synchronized void awaitRoom(Connection from) {
        try {
            putting = true;
            if (bytes >= settings.maxInbound && !discarding && !from.hasEnded() && !from.hasRequests()) {
                wait();
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        } finally {
            putting = false;
        }
    }

    /** Makes a thread that waits for room look again. */
    synchronized void wake() {
        if (putting) {
            notifyAll();
        }
    }

    /**
     * Queues a change of state, even if there is no listener: the client's own work goes with it. RECONNECTING waits for room, so that a
     * client that reconnects again and again behind a handler that is stuck does not gather changes.
     */
    synchronized void putState(StateChange change) {
        try {
            putting = true;
            while (change.state() == ConnectionState.RECONNECTING && bytes >= settings.maxInbound && !discarding) {
                wait();
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        } finally {
            putting = false;
        }
        if (!discarding) {
            items.add(new Item(change, STATE_SIZE));
            bytes += STATE_SIZE;
            notifyAll();
        }
    }

    /** Queues the last item, which is delivered in any case. */
    synchronized void putLast(StateChange closed) {
        items.add(new Item(closed, 0));
        notifyAll();
    }

    /** Drops what waits, and all that comes, but the last item. */
    synchronized void discard() {
        discarding = true;
        Item last = items.peekLast();
        items.clear();
        bytes = 0;
        if (last != null && last.isLast()) {
            items.add(last);
        }
        notifyAll();
    }

    /** Waits for the thread, unless that is the caller's; then interrupts it. The time is in milliseconds. */
    void join(long ms) throws InterruptedException {
        if (Thread.currentThread() == thread) {
            return;
        }
        thread.join(ms);
        if (thread.isAlive()) {
            thread.interrupt();
            thread.join(INTERRUPTED_HANDLER);
        }
    }

    /** Waits until the last item was delivered. */
    void join() throws InterruptedException {
        thread.join();
    }

    // The side that takes.

    private void run() {
        while (true) {
            Item item = take();
            try {
                handle(item);
            } catch (Throwable e) {
                report(e);
            }
            if (item.isLast()) {
                return;
            }
        }
    }

    private void report(Throwable e) {
        if (e instanceof InterruptedException && engine.isStopped()) {
            return; // close has ended the handler
        }
        try {
            settings.errorHandler.accept(e);
        } catch (RuntimeException | Error again) {
            return; // nothing is left to tell it to
        }
    }

    private synchronized Item take() {
        while (items.isEmpty()) {
            taking = true;
            try {
                wait();
            } catch (InterruptedException e) {
                continue; // it was meant for a handler that has returned
            } finally {
                taking = false;
            }
        }
        Item item = items.remove();
        bytes -= item.size;
        if (putting) {
            notifyAll();
        }
        return item;
    }

    private void handle(Item item) throws Exception {
        if (item.what instanceof Message) {
            serve((Message) item.what);
        } else if (item.what instanceof Push) {
            pushed((Push) item.what);
        } else {
            StateChange change = (StateChange) item.what;
            if (change.state() == ConnectionState.ONLINE) {
                acknowledgeLate();
            }
            if (settings.stateListener != null) {
                settings.stateListener.changed(change);
            }
        }
    }

    private void serve(Message m) throws Exception {
        MessageHandler h = settings.handlers.getOrDefault(m.type(), settings.otherHandler);
        if (h == null) {
            if (m.isRequest() && m.from().isEmpty()) { // another user's request may be for another session of this one
                answer(m, new ReplyException(CloseCode.NO_HANDLER, "the client has no handler for this message type"));
            }
            return;
        }
        try {
            h.handle(m);
        } catch (ReplyException e) {
            answer(m, e);
        } catch (Throwable e) {
            answer(m, new ReplyException(CloseCode.HANDLER_FAILED, ""));
            throw e;
        }
    }

    private static void answer(Message m, ReplyException error) {
        if (!m.isRequest() || m.isAnswered()) {
            return;
        }
        try {
            m.replyError(error);
        } catch (RollcallException | IllegalStateException e) {
            return; // there is no connection, and the sender no longer waits for an answer
        }
    }

    private void pushed(Push p) throws Exception {
        if (!seen.has(p.id())) {
            settings.pushHandler.handle(p);
            if (p.isToBeConfirmed()) {
                seen.add(p.id());
            }
        }
        if (p.isToBeConfirmed()) {
            acknowledge(p.id());
        }
    }

    /** On the present connection: the server knows a push by its ID on any. Without one the acknowledgement is kept for the next. */
    private void acknowledge(UUID id) {
        try {
            engine.acknowledge(id);
        } catch (RollcallException e) {
            if (unsentAcks.size() < SeenPushes.MOST) {
                unsentAcks.add(id);
            }
        }
    }

    private void acknowledgeLate() {
        UUID[] late = unsentAcks.toArray(new UUID[0]);
        unsentAcks.clear();
        for (UUID id : late) {
            acknowledge(id);
        }
    }
}
