package io.github.rollcallgo.client;

import java.io.IOException;
import java.io.OutputStream;
import java.util.Collections;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;

/** The frames of a connection that wait to be written, and the thread that writes them, and heartbeats. */
final class Writer {
    /** How many bytes may wait before a sender waits. */
    private static final int MOST_QUEUED = 256 << 10;
    private static final int WRITE_SIZE = 64 << 10;
    /** How long the network may take nothing before the connection counts as lost, in milliseconds. */
    static final long TIMEOUT = 10_000;

    /** What there is to do. */
    private enum Next { WRITE, BEAT, SHUT, ENDED }

    private final Connection connection;
    private final OutputStream out;
    private volatile long writingSince;
    private volatile boolean writing;
    private ByteQueue batch = new ByteQueue(); // only the thread uses it, while it writes

    private final ReentrantLock lock = new ReentrantLock();
    private final Condition work = lock.newCondition();
    private final Condition space = lock.newCondition();
    private ByteQueue queue = new ByteQueue();
    private boolean cut;     // nothing more may be sent
    private boolean leaving; // the last frame in the queue is a Close
    private boolean ended;

    Writer(Connection connection, OutputStream out) {
        this.connection = connection;
        this.out = out;
    }

    /** Queues a frame; waits while too many bytes wait. */
    void send(int type, int flags, int id, byte[] to, byte[] body) throws RollcallException {
        lock.lock();
        try {
            while (!cut && queue.size() >= MOST_QUEUED) {
                space.await();
            }
            if (cut) {
                throw new NotConnectedException();
            }
            append(type, flags, id, to, body);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw RollcallException.network("the sender was interrupted", e);
        } finally {
            lock.unlock();
        }
    }

    /** Queues a frame of the client itself, without waiting. */
    void post(int type, int flags, int id, byte[] body) {
        lock.lock();
        try {
            if (!cut) {
                append(type, flags, id, Frame.NOTHING, body);
            }
        } finally {
            lock.unlock();
        }
    }

    private void append(int type, int flags, int id, byte[] to, byte[] body) {
        Frame.append(queue, type, flags, id, 0, Frame.NOTHING, to, body);
        work.signal();
    }

    /** Queues a Close as the last frame; this side is shut down behind it. */
    void leave(int code, String text) {
        lock.lock();
        try {
            if (!cut) {
                leaving = true;
                append(Frame.CLOSE, 0, 0, Frame.NOTHING, Bodies.close(code, text, Collections.emptyMap()));
            }
            cut = true;
            space.signalAll();
        } finally {
            lock.unlock();
        }
    }

    /** Ends the thread, and the waits of senders. */
    void end() {
        lock.lock();
        try {
            cut = true;
            ended = true;
            work.signalAll();
            space.signalAll();
        } finally {
            lock.unlock();
        }
    }

    /** Whether the network has taken nothing for too long. */
    boolean isStuck() {
        return writing && Millis.now() - writingSince >= TIMEOUT;
    }

    /** What the thread does. */
    void run(Pulse pulse) {
        try {
            while (true) {
                switch (next(pulse.untilDue(Millis.now(), connection.heard()))) {
                    case WRITE:
                        write();
                        pulse.sent(Millis.now());
                        break;
                    case BEAT:
                        if (!beat(pulse)) {
                            return;
                        }
                        break;
                    case SHUT:
                        connection.shutdownOutput();
                        return;
                    default:
                        return;
                }
            }
        } catch (InterruptedException | IOException e) {
            writing = false;
            leaveToReader(e);
        }
    }

    private Next next(long untilBeat) throws InterruptedException {
        lock.lock();
        try {
            long left = TimeUnit.MILLISECONDS.toNanos(untilBeat);
            while (true) {
                if (ended) {
                    return Next.ENDED;
                }
                if (queue.size() > 0) {
                    ByteQueue empty = batch;
                    batch = queue;
                    queue = empty;
                    space.signalAll();
                    return Next.WRITE;
                }
                if (leaving) {
                    return Next.SHUT;
                }
                if (left <= 0) {
                    return Next.BEAT;
                }
                left = work.awaitNanos(left);
            }
        } finally {
            lock.unlock();
        }
    }

    private void write() throws IOException {
        for (int at = 0; at < batch.size(); at += WRITE_SIZE) {
            writingSince = Millis.now();
            writing = true;
            out.write(batch.bytes(), at, Math.min(WRITE_SIZE, batch.size() - at));
        }
        out.flush();
        writing = false;
        batch.clear(MOST_QUEUED * 2);
    }

    /** Returns false if the server is gone. */
    private boolean beat(Pulse pulse) {
        switch (pulse.beat(Millis.now(), connection.heard())) {
            case TELL:
                post(Frame.HEARTBEAT, 0, 0, Frame.NOTHING);
                return true;
            case ASK:
                post(Frame.HEARTBEAT, 0, connection.nextId(), Frame.NOTHING);
                return true;
            case SERVER_GONE:
                connection.end(RollcallException.network("the server has been silent for too long", null));
                return false;
            default:
                return true;
        }
    }

    /** There may be an unread Close that forbids to reconnect, so that the reader has a little time to find it. */
    private void leaveToReader(Exception e) {
        lock.lock();
        try {
            cut = true;
            space.signalAll();
        } finally {
            lock.unlock();
        }
        connection.endSoon(RollcallException.network("writing: " + e.getMessage(), e));
    }
}
